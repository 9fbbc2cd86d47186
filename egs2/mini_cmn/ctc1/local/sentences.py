"""A small grammar of daily life: short Mandarin sentences, as they are written.

A pattern is a sentence with slots; every slot is filled with one of its words, no
word twice. Numbers are written as they are spoken. A few sentences hold an English
word that the CMU dictionary knows.

Example:
    >>> len(set(sample_sentences(1000, seed=0)))
    1000
"""

import argparse
import random
import re
from functools import cache
from itertools import product

import lexicon as lx

SLOT = re.compile(r"{(\w+)}")
DIGITS = "零一二三四五六七八九"
MOST_REPEATS = 1000  # draws in a row of sentences that were there before

# Share in per mille, and the patterns that have it between them.
PATTERNS: dict[str, tuple[int, tuple[str, ...]]] = {
    "past": (120, ("{past}{who}{acted}", "{past}{who}在{place}{act}")),
    "future": (100, ("{future}{who}{will}{act}", "{who}{future}{will}去{place}{act}")),
    "habit": (80, ("{who}{habit}{act}", "{who}在{place}{act}呢", "{who}正在{act}")),
    "not": (80, ("{past}{who}没有{act}", "{who}不想{act}", "{who}还没{act}呢")),
    "ask": (
        80,
        (
            *("{who}{past}{acted}吗", "{who}为什么不{act}", "{who}会不会{act}"),
            *("{who}什么时候{act}", "谁{past}{acted}", "{who}可以{act}吗"),
        ),
    ),
    "must": (40, ("{who}应该先{act}", "{who}必须{act}", "{who}{acted}就{routine}")),
    "with": (40, ("{who}和{other}一起{act}", "{who}跟{other}去{place}了")),
    "is": (80, ("这{described}", "那{described}", "{who}觉得这{described}")),
    "count": (
        60,
        (
            *("{who}买了{few}{counted}", "{who}还要{few}{counted}"),
            *("{who}只有{few}{counted}", "房间里有{few}{counted}"),
        ),
    ),
    "number": (
        60,
        (
            *(
                "这{counted}{number}块钱",
                "{other}今年{age}岁了",
                "{other}住{digits}房间",
            ),
            *("{who}的电话是{digits}{digits}", "这本书有{number}页"),
        ),
    ),
    "time": (
        60,
        (
            *("{who}{clock}{routine}", "{who}每天{clock}{routine}", "现在{clock}了"),
            *("{other}的生日是{month}月{day}号", "{month}月{day}号{who}要{act}"),
            *("{weekday}{who}{clock}{routine}", "银行{clock}开门", "商店{clock}关门"),
        ),
    ),
    "go": (
        60,
        (
            *("{future}{who}坐{vehicle}去{city}", "{past}{who}去{city}出差了"),
            *("从{city}到{city}要{few}个小时", "{who}从{place}走到{place}"),
            *("{place}在{place}{side}", "请问{place}怎么走", "{other}去过{city}吗"),
        ),
    ),
    "where": (20, ("{who}的{gadget}在{room}里", "{who}把{gadget}放在{room}了")),
    "she": (20, ("{woman}说她{future}{will}{act}", "{woman}说她的{gadget}{plainly}贵")),
    "he": (20, ("{man}说他{future}{will}{act}", "{man}说他的{gadget}{plainly}实惠")),
    "than": (30, ("{who}比{other}{tall}", "{who}没有{other}那么{tall}")),
    "manner": (30, ("{who}{manner}", "{who}觉得{other}{manner}")),
    "weather": (
        30,
        (
            *(
                "{city}{future}会{sky}",
                "{city}{past}{sky}了",
                "{city}的空气{plainly}好",
            ),
            *("{city}今天{plainly}{weather}", "{city}今天有{number}度"),
        ),
    ),
    "give": (
        50,
        (
            *("{who}把{borrowed}还给{other}了", "{who}向{other}借了{borrowed}"),
            *("{who}给{other}打了电话", "{who}送给{other}{few}{counted}"),
            *("{other}教{who}{subject}", "{who}收到了{other}的{gift}"),
        ),
    ),
    "feel": (
        50,
        (
            *("{past}{who}{plainly}{mood}", "{who}为什么这么{mood}", "{who}{sick}了"),
            *(
                "{other}因为{sick}没去{place}",
                "{who}现在不{mood}",
                "太{too}了{who}受不了",
            ),
            "{who}睡着了",
        ),
    ),
    "wish": (
        50,
        (
            *("{child}长大以后想当{job}", "{who}爱好{hobby}", "{who}有空就{act}"),
            *(
                "放假以后{who}想去{city}",
                "{who}不太了解{city}",
                "{who}的头发{plainly}长",
            ),
            *("{who}要重新{act}", "{who}爱吃{fruit}和{dish}", "{who}一边{act}一边听歌"),
        ),
    ),
    "english": (
        40,
        (
            *(
                "{who}给{other}发了email",
                "{who}还没看{other}的email",
                "ok{who}{routine}",
            ),
            *("{who}的app{plainly}好用", "{place}的wifi密码是{digits}"),
            *(
                "{past}{who}吃了pizza",
                "{future}{who}有一个party",
                "{who}打taxi去{place}",
            ),
            *("{who}有一个好idea", "{who}买了{few}张cd", "hello{who}是{other}的朋友"),
        ),
    ),
}


def spoken_number(number: int) -> str:
    """Write a number below 1,000 as it is spoken.

    Example:
        >>> [spoken_number(n) for n in (7, 10, 16, 20, 105, 110)]
        ['七', '十', '十六', '二十', '一百零五', '一百一十']
    """
    hundreds, rest = divmod(number, 100)
    tens, ones = divmod(rest, 10)
    one = DIGITS[ones] if ones else ""
    if not hundreds:
        ten = {0: "", 1: "十"}.get(tens, DIGITS[tens] + "十")
        return ten + one or DIGITS[0]
    ten = DIGITS[tens] + "十" if tens else DIGITS[0] if ones else ""
    return DIGITS[hundreds] + "百" + ten + one


def spoken_hour(hour: int) -> str:
    """Write an hour: two o'clock is 两点, no other two of a clock is."""
    return ("两" if hour == 2 else spoken_number(hour)) + "点"


@cache
def fillers() -> dict[str, list[str]]:
    """Return what may stand in each slot: the lexicon's words and what is made of them.

    Example:
        >>> "吃了苹果" in fillers()["acted"], "七点半" in fillers()["clock"]
        (True, True)
    """
    words = {name: line.split() for name, line in lx.SLOTS.items()}
    acts = [(verb, what) for verb, line in lx.ACTS.items() for what in line.split()]
    manners = [manner.split("得") for manner in lx.MANNERS.split()]
    numbers = [spoken_number(number) for number in range(1000)]
    hours = [spoken_hour(hour) for hour in range(1, 13)]
    minutes = ["", "半", "一刻", "十分", "二十分", "四十分", "五十分"]
    made = {
        "act": [verb + what for verb, what in acts],
        "acted": [f"{verb}了{what}" for verb, what in acts],
        "described": [
            noun + degree + quality
            for nouns, qualities in lx.GOODS
            for noun, degree, quality in product(
                nouns.split(), words["degree"], qualities.split()
            )
        ],
        "manner": [
            f"{verb}得{degree}{how}"
            for (verb, how), degree in product(manners, words["plainly"])
        ],
        "few": ["两", *numbers[3:13], numbers[15], numbers[20], numbers[30]],
        "number": numbers[2:],
        "age": numbers[3:91],
        "month": numbers[1:13],
        "day": numbers[1:32],
        "clock": [hour + minute for hour, minute in product(hours, minutes)],
        "digits": ["".join(digits) for digits in product(DIGITS, repeat=3)],
    }
    return words | made


def sample_sentences(count: int, seed: int) -> list[str]:
    """Draw different sentences, the patterns mixed by their shares.

    Args:
        count: Number of sentences.
        seed: Same seed, same sentences; a longer draw begins as a shorter one.

    Raises:
        ValueError: The grammar has hardly as many sentences as asked for.
    """
    rng = random.Random(seed)
    shares = [share for share, _ in PATTERNS.values()]
    groups = [patterns for _, patterns in PATTERNS.values()]
    drawn: dict[str, None] = {}  # a set that keeps its order
    repeats = 0
    while len(drawn) < count:
        (group,) = rng.choices(groups, shares)
        sentence = fill(rng.choice(group), rng)
        repeats = repeats + 1 if sentence in drawn else 0
        drawn[sentence] = None
        if repeats > MOST_REPEATS:
            raise ValueError(
                f"the grammar gave {len(drawn)} different sentences and hardly has "
                f"more, {count} were asked for: lower --num-train or --num-lm"
            )
    return list(drawn)


def fill(pattern: str, rng: random.Random) -> str:
    """Fill every slot of a pattern, no word twice.

    Example:
        >>> fill("{vehicle}", random.Random(0)) in fillers()["vehicle"]
        True
    """
    used: set[str] = set()

    def word(slot: re.Match[str]) -> str:
        chosen = rng.choice([w for w in fillers()[slot[1]] if w not in used])
        used.add(chosen)
        return chosen

    return SLOT.sub(word, pattern)


def get_parser() -> argparse.ArgumentParser:
    """Return the options of the command that prints sentences."""
    parser = argparse.ArgumentParser(description="Print sentences of the grammar.")
    parser.add_argument("--count", type=int, default=20, help="how many")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Print sentences, one a line."""
    args = get_parser().parse_args(argv)
    print("\n".join(sample_sentences(args.count, args.seed)))


if __name__ == "__main__":
    main()
