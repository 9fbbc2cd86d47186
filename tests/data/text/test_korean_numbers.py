"""Numbers and signs of Korean text become what is said; nothing goes in silence."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_smoe.data.text.korean import KoreanOptions, normalize

SPELL = KoreanOptions(dual="written", numbers="spell")


@pytest.mark.parametrize(
    "written, kept, spelled",
    [
        ("5㎏ 짜리", "5kg 짜리", "오 킬로그램 짜리"),
        ("50㏄와 5cc", "50cc와 5cc", "오십 시시와 오 시시"),
        ("36.5˚C 30º", "36.5°C 30°", "삼십육 점 오 도 삼십 도"),
        ("02)123-4567", "02 123 4567", "공이 일이삼 사오육칠"),
        (
            "+82 10-1234-5678",
            "플러스 82 10 1234 5678",
            "플러스 팔이 일공 일이삼사 오육칠팔",
        ),
        ("Ⅲ장", "3 장", "삼 장"),
        ("단위는 ㎏", "단위는 kg", "단위는 킬로그램"),
        ("3㎡, 5m2", "3m² 5m²", "삼 제곱미터 오 제곱미터"),
        ("50㎞/h로", "시속 50킬로미터로", "시속 오십 킬로미터로"),
        ("5g/L", "리터당 5그램", "리터당 오 그램"),
        ("몇 % 는 5‰", "몇 % 는 5‰", "몇 퍼센트 는 오 퍼밀"),
        ("₩1,000 $5억 US$3", "₩1,000 $5억 US$3", "천 원 오억 달러 삼 달러"),
        ("3:30 에", "3시 30분 에", "세 시 삼십 분 에"),
        ("15:05 pm 3:00", "15시 5분 오후 3시", "십오 시 오 분 오후 세 시"),
        ("2024-10-03", "2024년 10월 3일", "이천이십사년 시월 삼일"),
        ("2024.6.5.에", "2024년 6월 5일 에", "이천이십사년 유월 오일 에"),
        ("-5도, -3", "영하 5도 마이너스 3", "영하 오도 마이너스 삼"),
        ("기온 −5℃", "기온 영하 5℃", "기온 영하 오 도"),
        ("-$5", "마이너스 $5", "마이너스 오 달러"),
        ("±3", "플러스마이너스 3", "플러스마이너스 삼"),
        ("010-1234-5678", "010 1234 5678", "공일공 일이삼사 오육칠팔"),
        ("3~5개", "3개에서 5개", "세 개에서 다섯 개"),
        ("3-5명", "3명에서 5명", "세 명에서 다섯 명"),
        ("10–20%", "10에서 20%", "십에서 이십 퍼센트"),
        ("1/2 2½", "2분의 1 2와 2분의 1", "이분의 일 이와 이분의 일"),
        ("①번 Ⅳ 제II장", "1 번 4 제2장", "일 번 사 제이장"),
        ("3:2 3 : 2", "3 대 2 3 대 2", "삼 대 이 삼 대 이"),
        ("3+5=8", "3 더하기 5는 8", "삼 더하기 오는 팔"),
        ("9 - 3 = 6", "9 빼기 3은 6", "구 빼기 삼은 육"),
        ("1번째 20살", "1번째 20살", "첫 번째 스무 살"),
        ("3개 3개월 105명", "3개 3개월 105명", "세 개 삼개월 백다섯 명"),
        (".5 0.05", "0.5 0.05", "영 점 오 영 점 영오"),
        ("㈜가 №3", "주식회사 가 넘버 3", "주식회사 가 넘버 삼"),
        ("10² √2", "10² 루트 2", "십의 제곱 루트 이"),
        ("9:00-18:00", "9시에서 18시", "아홉 시에서 십팔 시"),
        ("(02)123-4567", "02 123 4567", "공이 일이삼 사오육칠"),
        ("010 1234 5678", "010 1234 5678", "공일공 일이삼사 오육칠팔"),
        ("시속 60㎞/h", "시속 60킬로미터", "시속 육십 킬로미터"),
        ("3㎝×5㎝", "3cm 곱하기 5cm", "삼 센티미터 곱하기 오 센티미터"),
        ("37°30′", "37° 30분", "삼십칠 도 삼십분"),
        ("영하 -5도", "영하 5도", "영하 오도"),
        ("≒3.14", "약 3.14", "약 삼 점 일사"),
        ("오전 10:00~오후 3:00", "오전 10시에서 오후 3시", "오전 열 시에서 오후 세 시"),
        ("1/4분기 No.5", "1사분기 넘버 5", "일사분기 넘버 오"),
        ("٣ H₂O", "3 H2O", "삼 H이O"),
        ("119에 신고", "119에 신고", "일일구에 신고"),
        ("112로 전화, 114 안내", "112로 전화 114 안내", "일일이로 전화 일일사 안내"),
        ("119명 제119회", "119명 제119회", "백열아홉 명 제백십구회"),
        ("3.1절 6.25 전쟁", "3.1절 6.25 전쟁", "삼일절 육이오 전쟁"),
        ("3.1 12.12 사태", "3.1 12.12 사태", "삼 점 일 십이십이 사태"),
        ("5,6명", "5,6명", "오륙 명"),
    ],
)
def test_a_form_is_written_as_it_is_read(written, kept, spelled):
    assert normalize(written) == kept
    assert normalize(written, SPELL) == spelled


@pytest.mark.parametrize(
    "text",
    [
        *("5㎏, 3:30", "3번째 2024-10-03 아", "말", "네~ AT&T", "119에 신고했다"),
        *("119에", "3.1절", "02-123-4567", "(02)123-4567"),
    ],
)
def test_what_has_one_reading_is_no_doubt(text):
    doubts = []
    normalize(text, SPELL, doubts=doubts)
    assert doubts == []


@pytest.mark.parametrize(
    "text, doubt",
    [
        ("24/7 영업", "24/7"),
        ("코로나-19", "코로나-19"),
        ("3번 말했다", "3번"),
        ("☎ 주세요", "☎ 주세요"),
        ("버전 3.1.4", "3.1.4"),
        ("점수 3-0", "3-0"),
        ("A4 종이", "A4"),
        ("5 # 6", "5 # 6"),
        ("5·18", "5·18"),
        ("a+b", "a+b"),
        ("5,6명이", "5,6명이"),
        ("번호는 119", "119"),
        ("119에서 120까지", "119"),
        ("월~금", "월~금"),
        ("A+ 받음", "A+ 받음"),
        ("낮&밤", "낮&밤"),
        ("a@b.kr", "a@b.kr"),
        ("4th", "4th"),
    ],
)
def test_what_may_be_read_otherwise_or_not_at_all_is_told(text, doubt):
    doubts = []
    normalize(text, SPELL, doubts=doubts)
    assert doubt in doubts


@pytest.mark.parametrize("sign", "-~/:+*=<>^#@&×÷±≠≤∞№☃²½①Ⅳ㎏℃°‰$₩¥%")
@pytest.mark.parametrize("shape", ["3{}5", "3 {} 5", "{}5", "3{}"])
def test_no_sign_beside_a_number_goes_in_silence(sign, shape):
    doubts = []
    read = normalize(shape.format(sign), SPELL, doubts=doubts)
    assert doubts or read != normalize(shape.format(" "), SPELL)


PIECES = "3 5 12 2024 010 1,000 2.5 - ~ / : + = × . % ℃ kg ㎡ /h $ ₩ ½ ① Ⅳ ² 도 개 시"


@settings(deadline=None)
@given(st.lists(st.sampled_from([*PIECES.split(), " "]), max_size=9).map("".join))
def test_a_spelled_text_holds_no_digits_and_stays_as_it_is(text):
    for options in (KoreanOptions(), SPELL):
        once = normalize(text, options)
        assert normalize(once, options) == once
    assert not any(char in "0123456789" for char in once)
