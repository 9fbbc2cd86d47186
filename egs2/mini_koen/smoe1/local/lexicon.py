"""The words of mini_koen: Korean, English, and what the grammar must know of them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Person:
    """Someone who acts. `agreement` picks the English verb: ``i``, ``we``, ``he``."""

    ko: str
    en: str
    agreement: str = "he"


@dataclass(frozen=True)
class Noun:
    """A thing. `article`: ``a``/``an``/``the``, empty for a mass, ``plural``."""

    ko: str
    en: str
    article: str = ""


@dataclass(frozen=True)
class Place:
    """Somewhere: its English as a goal (`to`) and as a location (`at`)."""

    ko: str
    to: str
    at: str


@dataclass(frozen=True)
class Verb:
    """A verb in polite speech and in English, every irregular form spelled out."""

    past: str
    present: str
    future: str
    gerund: str  # stem + 고, before 있어요 (progressive) and 싶어요 (want)
    en: str
    en_s: str
    en_past: str
    en_ing: str


@dataclass(frozen=True)
class Adjective:
    """A quality: polite present and past, English."""

    present: str
    past: str
    en: str


I = Person("저", "i", "i")  # noqa: E741
WE = Person("우리", "we", "we")
OTHERS = [
    Person("어머니", "my mother"),
    Person("아버지", "my father"),
    Person("할머니", "my grandmother"),
    Person("할아버지", "my grandfather"),
    Person("동생", "my younger brother"),
    Person("삼촌", "my uncle"),
    Person("아들", "my son"),
    Person("딸", "my daughter"),
    Person("남편", "my husband"),
    Person("아내", "my wife"),
    Person("친구", "my friend"),
    Person("이웃", "my neighbor"),
    Person("선생님", "the teacher"),
    Person("학생", "the student"),
    Person("의사", "the doctor"),
    Person("손님", "the guest"),
    Person("가수", "the singer"),
    Person("경찰관", "the police officer"),
]
PEOPLE = [I, WE, *OTHERS]

PLACES = [
    Place("집", "home", "at home"),
    Place("학교", "to school", "at school"),
    Place("교회", "to church", "at church"),
    Place("회사", "to the office", "at the office"),
    Place("시장", "to the market", "at the market"),
    Place("공원", "to the park", "at the park"),
    Place("병원", "to the hospital", "at the hospital"),
    Place("도서관", "to the library", "at the library"),
    Place("식당", "to the restaurant", "at the restaurant"),
    Place("은행", "to the bank", "at the bank"),
    Place("극장", "to the theater", "at the theater"),
    Place("카페", "to the cafe", "at the cafe"),
    Place("공항", "to the airport", "at the airport"),
    Place("호텔", "to the hotel", "at the hotel"),
    Place("서점", "to the bookstore", "at the bookstore"),
    Place("약국", "to the pharmacy", "at the pharmacy"),
    Place("바다", "to the sea", "at the sea"),
    Place("역", "to the station", "at the station"),
]
ROOMS = [
    Place("부엌", "to the kitchen", "in the kitchen"),
    Place("방", "to the room", "in the room"),
    Place("교실", "to the classroom", "in the classroom"),
    Place("정원", "to the garden", "in the garden"),
]

FOOD = [
    Noun("밥", "rice"),
    Noun("빵", "bread"),
    Noun("고기", "meat"),
    Noun("김치", "kimchi"),
    Noun("생선", "fish"),
    Noun("수박", "watermelon"),
    Noun("사과", "apple", "an"),
    Noun("계란", "egg", "an"),
    Noun("국수", "noodles", "plural"),
    Noun("과자", "cookies", "plural"),
]
DRINKS = [
    Noun("물", "water"),
    Noun("커피", "coffee"),
    Noun("차", "tea"),
    Noun("우유", "milk"),
    Noun("주스", "juice"),
    Noun("맥주", "beer"),
]
READING = [
    Noun("책", "book", "a"),
    Noun("편지", "letter", "a"),
    Noun("소설", "novel", "a"),
    Noun("잡지", "magazine", "a"),
    Noun("신문", "newspaper", "the"),
]
GOODS = [
    Noun("모자", "hat", "a"),
    Noun("가방", "bag", "a"),
    Noun("우산", "umbrella", "an"),
    Noun("시계", "watch", "a"),
    Noun("선물", "gift", "a"),
    Noun("의자", "chair", "a"),
    Noun("자전거", "bicycle", "a"),
    Noun("자동차", "car", "a"),
    Noun("신발", "shoes", "plural"),
    Noun("옷", "clothes", "plural"),
    Noun("꽃", "flowers", "plural"),
]
LOSABLE = [
    Noun("열쇠", "key", "a"),
    Noun("지갑", "wallet", "a"),
    Noun("전화기", "phone", "a"),
    Noun("안경", "glasses", "plural"),
]
SHOWS = [
    Noun("영화", "movie", "a"),
    Noun("드라마", "drama", "a"),
    Noun("뉴스", "news", "the"),
]
SOUNDS = [Noun("음악", "music"), Noun("라디오", "radio", "the")]
SKILLS = [
    Noun("한국어", "korean"),
    Noun("영어", "english"),
    Noun("수학", "math"),
    Noun("수영", "swimming"),
    Noun("요리", "cooking"),
    Noun("피아노", "piano", "the"),
]
VEHICLES = [
    Noun("버스", "bus", "the"),
    Noun("기차", "train", "the"),
    Noun("지하철", "subway", "the"),
    Noun("택시", "taxi", "a"),
]
CLEANABLE = [
    Noun("부엌", "kitchen", "the"),
    Noun("방", "room", "the"),
    Noun("교실", "classroom", "the"),
    Noun("집", "house", "the"),
]

# What can be done to what.
TRANSITIVE: list[tuple[Verb, list[Noun]]] = [
    (
        Verb(
            *("먹었어요", "먹어요", "먹을 거예요", "먹고"),
            *("eat", "eats", "ate", "eating"),
        ),
        FOOD,
    ),
    (
        Verb(
            *("마셨어요", "마셔요", "마실 거예요", "마시고"),
            *("drink", "drinks", "drank", "drinking"),
        ),
        DRINKS,
    ),
    (
        Verb(
            *("읽었어요", "읽어요", "읽을 거예요", "읽고"),
            *("read", "reads", "read", "reading"),
        ),
        READING,
    ),
    (
        Verb(
            *("샀어요", "사요", "살 거예요", "사고"),
            *("buy", "buys", "bought", "buying"),
        ),
        GOODS + FOOD[:7] + READING[:1],
    ),
    (
        Verb(
            *("팔았어요", "팔아요", "팔 거예요", "팔고"),
            *("sell", "sells", "sold", "selling"),
        ),
        GOODS,
    ),
    (
        Verb(
            *("찾았어요", "찾아요", "찾을 거예요", "찾고"),
            *("look for", "looks for", "looked for", "looking for"),
        ),
        LOSABLE + GOODS[:4],
    ),
    (
        Verb(
            *("만들었어요", "만들어요", "만들 거예요", "만들고"),
            *("make", "makes", "made", "making"),
        ),
        [FOOD[1], FOOD[3], *FOOD[8:], *GOODS[4:6], GOODS[9]],
    ),
    (
        Verb(
            *("봤어요", "봐요", "볼 거예요", "보고"),
            *("watch", "watches", "watched", "watching"),
        ),
        SHOWS,
    ),
    (
        Verb(
            *("들었어요", "들어요", "들을 거예요", "듣고"),
            *("listen to", "listens to", "listened to", "listening to"),
        ),
        SOUNDS,
    ),
    (
        Verb(
            *("배웠어요", "배워요", "배울 거예요", "배우고"),
            *("learn", "learns", "learned", "learning"),
        ),
        SKILLS,
    ),
    (
        Verb(
            *("가르쳤어요", "가르쳐요", "가르칠 거예요", "가르치고"),
            *("teach", "teaches", "taught", "teaching"),
        ),
        SKILLS,
    ),
    (
        Verb(
            *("기다렸어요", "기다려요", "기다릴 거예요", "기다리고"),
            *("wait for", "waits for", "waited for", "waiting for"),
        ),
        VEHICLES,
    ),
    (
        Verb(
            *("청소했어요", "청소해요", "청소할 거예요", "청소하고"),
            *("clean", "cleans", "cleaned", "cleaning"),
        ),
        CLEANABLE,
    ),
]
MEET = Verb(
    *("만났어요", "만나요", "만날 거예요", "만나고"),
    *("meet", "meets", "met", "meeting"),
)
MOTION = [
    Verb(
        *("갔어요", "가요", "갈 거예요", "가고"),
        *("go", "goes", "went", "going"),
    ),
    Verb(
        *("왔어요", "와요", "올 거예요", "오고"),
        *("come", "comes", "came", "coming"),
    ),
]
ACTIVITIES = [
    Verb(
        *("일했어요", "일해요", "일할 거예요", "일하고"),
        *("work", "works", "worked", "working"),
    ),
    Verb(
        *("잤어요", "자요", "잘 거예요", "자고"),
        *("sleep", "sleeps", "slept", "sleeping"),
    ),
    Verb(
        *("쉬었어요", "쉬어요", "쉴 거예요", "쉬고"),
        *("rest", "rests", "rested", "resting"),
    ),
    Verb(
        *("놀았어요", "놀아요", "놀 거예요", "놀고"),
        *("play", "plays", "played", "playing"),
    ),
    Verb(
        *("공부했어요", "공부해요", "공부할 거예요", "공부하고"),
        *("study", "studies", "studied", "studying"),
    ),
    Verb(
        *("노래했어요", "노래해요", "노래할 거예요", "노래하고"),
        *("sing", "sings", "sang", "singing"),
    ),
    Verb(
        *("춤췄어요", "춤춰요", "춤출 거예요", "춤추고"),
        *("dance", "dances", "danced", "dancing"),
    ),
]
GIVING = [
    Verb(
        *("줬어요", "줘요", "줄 거예요", "주고"),
        *("give", "gives", "gave", "giving"),
    ),
    Verb(
        *("보냈어요", "보내요", "보낼 거예요", "보내고"),
        *("send", "sends", "sent", "sending"),
    ),
]

TASTES = [
    Adjective("맛있어요", "맛있었어요", "delicious"),
    Adjective("비싸요", "비쌌어요", "expensive"),
    Adjective("뜨거워요", "뜨거웠어요", "hot"),
    Adjective("차가워요", "차가웠어요", "cold"),
]
LOOKS = [
    Adjective("커요", "컸어요", "big"),
    Adjective("작아요", "작았어요", "small"),
    Adjective("비싸요", "비쌌어요", "expensive"),
    Adjective("예뻐요", "예뻤어요", "pretty"),
    Adjective("무거워요", "무거웠어요", "heavy"),
]
MOODS = [
    Adjective("바빠요", "바빴어요", "busy"),
    Adjective("피곤해요", "피곤했어요", "tired"),
    Adjective("행복해요", "행복했어요", "happy"),
    Adjective("아파요", "아팠어요", "sick"),
    Adjective("슬퍼요", "슬펐어요", "sad"),
]
SIGHTS = [
    Adjective("멀어요", "멀었어요", "far"),
    Adjective("가까워요", "가까웠어요", "close"),
    Adjective("조용해요", "조용했어요", "quiet"),
    Adjective("깨끗해요", "깨끗했어요", "clean"),
    Adjective("더러워요", "더러웠어요", "dirty"),
]

PAST_TIMES = [("어제", "yesterday"), ("아까", "earlier"), ("지난주에", "last week")]
HABIT_TIMES = [
    ("매일", "every day"),
    ("아침에", "in the morning"),
    ("저녁에", "in the evening"),
    ("주말에", "on the weekend"),
]
FUTURE_TIMES = [("내일", "tomorrow"), ("나중에", "later"), ("곧", "soon")]
NOW = ("지금", "now")
TODAY = ("오늘", "today")
