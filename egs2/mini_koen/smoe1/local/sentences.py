"""A small grammar of daily life: short Korean sentences with their English.

Each construction has exactly one translation, so that what a model gets wrong is
never a matter of taste. English is lower case, without punctuation.

Example:
    >>> sample_sentences(1000, seed=0)[0].construction in CONSTRUCTIONS
    True
"""

import argparse
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

import lexicon as lx
from lexicon import Noun, Person, Place, Verb

BE = {"i": "am", "we": "are", "he": "is"}
WAS = {"i": "was", "we": "were", "he": "was"}


@dataclass(frozen=True)
class Sentence:
    """A Korean sentence, its English and the construction that made it."""

    ko: str
    en: str
    construction: str


@dataclass(frozen=True)
class Tensed:
    """A verb in one tense with its time: `ko` verb, `en` by agreement."""

    ko: str
    en: dict[str, str]
    time: tuple[str, str]


def particle(word: str, after_consonant: str, after_vowel: str) -> str:
    """Attach the particle that fits the word's last syllable.

    Example:
        >>> particle("책", "을", "를"), particle("사과", "을", "를")
        ('책을', '사과를')
    """
    final = (ord(word[-1]) - 0xAC00) % 28  # 0: the syllable ends in its vowel
    return word + (after_consonant if final else after_vowel)


def by_vehicle(word: str) -> str:
    """Attach 로 after a vowel or ㄹ, 으로 elsewhere."""
    rieul = (ord(word[-1]) - 0xAC00) % 28 == 8
    return word + "로" if rieul else particle(word, "으로", "로")


def topic(person: Person) -> str:
    """Attach 은/는."""
    return particle(person.ko, "은", "는")


def object_of(word: Noun | Person) -> str:
    """Attach 을/를."""
    return particle(word.ko, "을", "를")


def subject(word: Noun | Place) -> str:
    """Attach 이/가."""
    return particle(word.ko, "이", "가")


def phrase(noun: Noun) -> str:
    """Return the English noun with its article."""
    bare = noun.article in ("", "plural")
    return noun.en if bare else f"{noun.article} {noun.en}"


def tenses(verb: Verb) -> Iterator[Tensed]:
    """Yield the verb in past, habit, future and progressive, with fitting times."""
    past = dict.fromkeys(BE, verb.en_past)
    present = {"i": verb.en, "we": verb.en, "he": verb.en_s}
    for time in (*lx.PAST_TIMES, lx.TODAY):
        yield Tensed(verb.past, past, time)
    for time in lx.HABIT_TIMES:
        yield Tensed(verb.present, present, time)
    for time in lx.FUTURE_TIMES:
        yield Tensed(verb.future, dict.fromkeys(BE, f"will {verb.en}"), time)
    progressive = {who: f"{be} {verb.en_ing}" for who, be in BE.items()}
    yield Tensed(f"{verb.gerund} 있어요", progressive, lx.NOW)


def acts() -> Iterator[tuple[str, str]]:
    """어제 동생은 사과를 먹었어요: my younger brother ate an apple yesterday."""
    for verb, nouns in lx.TRANSITIVE:
        for person, noun, t in product(lx.PEOPLE, nouns, tenses(verb)):
            yield (
                f"{t.time[0]} {topic(person)} {object_of(noun)} {t.ko}",
                f"{person.en} {t.en[person.agreement]} {phrase(noun)} {t.time[1]}",
            )


def who_acted() -> Iterator[tuple[str, str]]:
    """누가 빵을 만들었어요: who made bread."""
    for verb, nouns in lx.TRANSITIVE:
        for noun, (time, en_time) in product(nouns, lx.PAST_TIMES):
            yield (
                f"{time} 누가 {object_of(noun)} {verb.past}",
                f"who {verb.en_past} {phrase(noun)} {en_time}",
            )


def did_not() -> Iterator[tuple[str, str]]:
    """저는 커피를 안 마셨어요: i did not drink coffee."""
    for verb, nouns in lx.TRANSITIVE:
        if verb.present.endswith("해요"):
            continue  # 안 would have to split noun and 하다
        for person, noun in product(lx.PEOPLE, nouns):
            yield (
                f"{topic(person)} {object_of(noun)} 안 {verb.past}",
                f"{person.en} did not {verb.en} {phrase(noun)}",
            )


def wants() -> Iterator[tuple[str, str]]:
    """저는 물을 마시고 싶어요: i want to drink water."""
    for verb, nouns in lx.TRANSITIVE:
        for person, noun in product((lx.I, lx.WE), nouns):
            yield (
                f"{topic(person)} {object_of(noun)} {verb.gerund} 싶어요",
                f"{person.en} want to {verb.en} {phrase(noun)}",
            )


def has_to() -> Iterator[tuple[str, str]]:
    """학생은 책을 읽어야 해요: the student has to read a book."""
    for verb, nouns in lx.TRANSITIVE:
        for person, noun in product(lx.PEOPLE, nouns):
            must = "has to" if person.agreement == "he" else "have to"
            yield (
                f"{topic(person)} {object_of(noun)} {verb.present[:-1]}야 해요",
                f"{person.en} {must} {verb.en} {phrase(noun)}",
            )


def meets() -> Iterator[tuple[str, str]]:
    """우리는 공원에서 친구를 만났어요: we met my friend at the park."""
    for person, place, other in product(lx.PEOPLE, lx.PLACES, lx.OTHERS):
        if person != other:
            yield (
                f"{topic(person)} {place.ko}에서 {object_of(other)} {lx.MEET.past}",
                f"{person.en} {lx.MEET.en_past} {other.en} {place.at}",
            )


def goes() -> Iterator[tuple[str, str]]:
    """내일 의사는 은행에 갈 거예요: the doctor will go to the bank tomorrow."""
    for verb in lx.MOTION:
        for person, place, t in product(lx.PEOPLE, lx.PLACES, tenses(verb)):
            yield (
                f"{t.time[0]} {topic(person)} {place.ko}에 {t.ko}",
                f"{person.en} {t.en[person.agreement]} {place.to} {t.time[1]}",
            )


def rides() -> Iterator[tuple[str, str]]:
    """딸은 버스로 학교에 갔어요: my daughter went to school by bus."""
    for person, ride, place in product(lx.PEOPLE, lx.VEHICLES, lx.PLACES):
        for verb in lx.MOTION:
            yield (
                f"{topic(person)} {by_vehicle(ride.ko)} {place.ko}에 {verb.past}",
                f"{person.en} {verb.en_past} {place.to} by {ride.en}",
            )


def does() -> Iterator[tuple[str, str]]:
    """지금 손님은 호텔에서 자고 있어요: the guest is sleeping at the hotel now."""
    for verb in lx.ACTIVITIES:
        for person, place, t in product(lx.PEOPLE, lx.PLACES, tenses(verb)):
            yield (
                f"{t.time[0]} {topic(person)} {place.ko}에서 {t.ko}",
                f"{person.en} {t.en[person.agreement]} {place.at} {t.time[1]}",
            )


def does_with() -> Iterator[tuple[str, str]]:
    """아들은 친구와 놀았어요: my son played with my friend."""
    for verb, person, other in product(lx.ACTIVITIES, lx.PEOPLE, lx.OTHERS):
        if person != other:
            yield (
                f"{topic(person)} {particle(other.ko, '과', '와')} {verb.past}",
                f"{person.en} {verb.en_past} with {other.en}",
            )


def gives() -> Iterator[tuple[str, str]]:
    """저는 친구에게 책을 줬어요: i gave a book to my friend."""
    things = [*lx.READING[:4], *lx.GOODS[:5], lx.GOODS[-1]]
    for verb, person, other in product(lx.GIVING, lx.PEOPLE, lx.OTHERS):
        for noun in things if person != other else ():
            yield (
                f"{topic(person)} {other.ko}에게 {object_of(noun)} {verb.past}",
                f"{person.en} {verb.en_past} {phrase(noun)} to {other.en}",
            )


def is_like() -> Iterator[tuple[str, str]]:
    """이 가방이 아주 비싸요: this bag is very expensive."""
    pairs = [*product(lx.FOOD + lx.DRINKS, lx.TASTES), *product(lx.GOODS, lx.LOOKS)]
    degrees = [("아주", "very"), ("너무", "so"), ("정말", "really")]
    for (noun, quality), (how, en_how) in product(pairs, degrees):
        for det, near, nears in (("이", "this", "these"), ("그", "that", "those")):
            plural = noun.article == "plural"
            det_be = (nears, "are") if plural else (near, "is")
            yield (
                f"{det} {subject(noun)} {how} {quality.present}",
                f"{det_be[0]} {noun.en} {det_be[1]} {en_how} {quality.en}",
            )


def place_is() -> Iterator[tuple[str, str]]:
    """그 공원이 아주 조용해요: that park is very quiet."""
    named = [place for place in lx.PLACES if place.at.startswith("at the ")]
    for place, quality in product(named, lx.SIGHTS):
        name = place.at.removeprefix("at the ")
        for how, en_how in (("아주", "very"), ("너무", "so"), ("정말", "really")):
            yield (
                f"그 {subject(place)} {how} {quality.present}",
                f"that {name} is {en_how} {quality.en}",
            )


def feels() -> Iterator[tuple[str, str]]:
    """어제 어머니는 아주 바빴어요: my mother was very busy yesterday."""
    for person, mood in product(lx.PEOPLE, lx.MOODS):
        for how, en_how in (("아주", "very"), ("정말", "really")):
            for time, en_time in lx.PAST_TIMES:
                yield (
                    f"{time} {topic(person)} {how} {mood.past}",
                    f"{person.en} {WAS[person.agreement]} {en_how} {mood.en} {en_time}",
                )
            yield (
                f"{topic(person)} 지금 {how} {mood.present}",
                f"{person.en} {BE[person.agreement]} {en_how} {mood.en} now",
            )


def there_is() -> Iterator[tuple[str, str]]:
    """부엌에 우유가 없어요: there is no milk in the kitchen."""
    things = lx.FOOD + lx.DRINKS + lx.GOODS + lx.LOSABLE + lx.READING[:4]
    for place, noun in product(lx.ROOMS + lx.PLACES[:1], things):
        be = "are" if noun.article == "plural" else "is"
        where = f"지금 {place.ko}에 {subject(noun)}"
        yield f"{where} 있어요", f"there {be} {phrase(noun)} {place.at} now"
        yield f"{where} 없어요", f"there {be} no {noun.en} {place.at} now"


CONSTRUCTIONS: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
    make.__name__: make
    for make in (
        *(acts, who_acted, did_not, wants, has_to, meets, goes, rides),
        *(does, does_with, gives, is_like, place_is, feels, there_is),
    )
}
# Of 100 sentences: the constructions with more to say get more room.
SHARES = {"acts": 22, "goes": 10, "does": 12, "has_to": 8, "did_not": 8, "gives": 6}
OTHER_SHARE = 4


@cache
def all_sentences() -> tuple[Sentence, ...]:
    """Return every sentence of the grammar, each Korean one once."""
    found: dict[str, Sentence] = {}
    for name, make in CONSTRUCTIONS.items():
        for ko, en in make():
            found.setdefault(ko, Sentence(ko, en, name))
    return tuple(found.values())


def sample_sentences(count: int, seed: int) -> list[Sentence]:
    """Draw different sentences, constructions mixed by their shares.

    Args:
        count: Number of sentences.
        seed: Same seed, same sentences.

    Raises:
        ValueError: The grammar has fewer sentences than asked for.
    """
    if count > len(all_sentences()):
        raise ValueError(
            f"the grammar makes {len(all_sentences())} different sentences, "
            f"{count} were asked for: lower --num-train, --num-dev or --num-test"
        )
    rng = random.Random(seed)
    stock: dict[str, list[Sentence]] = {name: [] for name in CONSTRUCTIONS}
    for sentence in all_sentences():
        stock[sentence.construction].append(sentence)
    for sentences in stock.values():
        rng.shuffle(sentences)
    drawn: list[Sentence] = []
    while len(drawn) < count:
        names = [name for name, sentences in stock.items() if sentences]
        weights = [SHARES.get(name, OTHER_SHARE) for name in names]
        drawn.append(stock[rng.choices(names, weights)[0]].pop())
    return drawn


def get_parser() -> argparse.ArgumentParser:
    """Return the options of the command that prints sentences."""
    parser = argparse.ArgumentParser(description="Print sentences of the grammar.")
    parser.add_argument("--count", type=int, default=20, help="how many")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Print Korean and English, separated by a tab."""
    args = get_parser().parse_args(argv)
    for sentence in sample_sentences(args.count, args.seed):
        print(f"{sentence.ko}\t{sentence.en}")


if __name__ == "__main__":
    main()
