"""Noun phrases of an English caption, found by a rule: words between verbs, prepositions, conjunctions and signs.

The rule has lists of the words of closed classes and a few endings; every other word counts as part of a noun phrase.
It errs if a verb is not in its lists. So the phrases are shown to the user before anything is searched.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from napari_foundseg.core.errors import PromptError

__all__ = ["NounPhrase", "noun_phrases"]

#: Most words of a caption.
_MOST_WORDS = 200
_BY_COMMAS = "Give what to find between commas instead, such as: syringe, vial."


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ARTICLES = _words("a an the")
_DETERMINERS = _ARTICLES | _words(
    "this these those some any each every all both many several few more most no another other its their his her our "
    "my your one two three four five six seven eight nine ten eleven twelve twenty hundred"
)
_ADJECTIVES = _words(
    "small smaller big bigger large larger tiny huge little long short tall wide narrow thin thick round oval flat "
    "bright dark red green blue yellow black white grey gray brown pink purple violet old young new wet dry hot cold "
    "empty full open closed left right upper lower dead living alive healthy sick single different same similar close"
)
_PREPOSITIONS = _words(
    "in on at by with from to into onto over under above below near beside besides between behind through across "
    "along around inside outside within without against during for about as off up down next per via among beneath"
)
_OTHERS = _words(
    "and or but nor plus i you he she it we they me him them us who whom which what whose where when while that there "
    "here something nothing anything everything someone everyone not also only just then than so too very if because "
    "please"
)
_VERBS = _words(
    "is are was were be been being am has have had do does did can could will would may might must shall should show "
    "shows shown contain contains see sees seen find finds found segment detect mark label outline look looks like "
    "lie lies sit sits stand stands hold holds held wear wears run runs eat eats carry carries touch touches cover "
    "covers surround surrounds grow grows divide divides move moves appear appears make makes give gives get take "
    "takes lay lays hang hangs ride rides walk walks fly flies swim swims play plays count locate identify"
)
_BREAKS = _PREPOSITIONS | _OTHERS | _VERBS
#: Nouns with the endings of verbs.
_NOUNS = _words(
    "string spring thing swing sling building painting drawing clothing earring evening morning staining coating "
    "casing tubing wiring swelling opening railing bearing ceiling lining marking setting wedding feed breed speed"
)
#: Words of other languages: a caption with one of them, and without an English word of these lists, is not English.
_FOREIGN = _words(
    "und eine einen einem der das mit et une des les dans avec los las una unos unas gli della het een och ett"
)
_FRAMES = _words("image picture photo photograph micrograph figure view scan slide frame")
_FRAMED = re.compile(
    rf"\s*(?:this is )?(?:(?:a|an|the|this)\s+)?(?:[\w-]+\s+)?(?:{'|'.join(sorted(_FRAMES))})\s+"
    r"(?:of|showing|shows|with)\s+(?=\S)",
    re.IGNORECASE,
)
_TOKENS = re.compile(r"[^\W_]+(?:['\u2019/-][^\W_]+)*|[^\w\s]")


class NounPhrase(NamedTuple):
    """A noun phrase and its place in the caption, ``caption[start:end]``."""

    text: str
    start: int
    end: int


class _Word(NamedTuple):
    text: str
    start: int
    end: int


def noun_phrases(caption: str) -> list[NounPhrase]:
    """Return the noun phrases of an English caption, each once, in their order.

    Parameters
    ----------
    caption : str
        Such as "two syringes and a small vial of vaccine".

    Returns
    -------
    list of NounPhrase
        Such as "two syringes" and "a small vial of vaccine".

    Raises
    ------
    PromptError
        If the caption has no noun, has more than 200 words, or is not English.
    """
    words = [_Word(found[0].lower(), *found.span()) for found in _TOKENS.finditer(caption)]
    _check(caption, [word.text for word in words if word.text[0].isalnum()])
    framed = _FRAMED.match(caption)
    runs = _runs([word for word in words if framed is None or word.start >= framed.end()])
    found = [run for run in runs if any(map(_is_content, run))]
    named = [run for run in found if run[-1].text not in _FRAMES]
    phrases: dict[str, NounPhrase] = {}
    for run in named or found:
        start, end = run[0].start, run[-1].end
        key = " ".join(word.text for word in run if word.text not in _DETERMINERS)
        phrases.setdefault(key, NounPhrase(" ".join(caption[start:end].split()), start, end))
    if not phrases:
        raise PromptError(f"No noun was found in {caption.strip()[:60]!r}. {_BY_COMMAS}")
    return list(phrases.values())


def _check(caption: str, words: Sequence[str]) -> None:
    if not words:
        raise PromptError(f"The caption {caption.strip()[:60]!r} has no words: say what to find, such as two syringes.")
    if len(words) > _MOST_WORDS:
        raise PromptError(f"The caption has {len(words)} words; {_MOST_WORDS} can be at most. {_BY_COMMAS}")
    if other := next((word for word in words if _in_another_script(word)), ""):
        raise PromptError(f"Phrases can be found in English captions only, and {other[:30]!r} is none. {_BY_COMMAS}")
    if (foreign := _FOREIGN.intersection(words)) and not (_ARTICLES | _BREAKS | {"of"}).intersection(words):
        raise PromptError(
            f"Phrases can be found in English captions only, and {min(foreign)!r} is not an English word. {_BY_COMMAS}"
        )


def _in_another_script(word: str) -> bool:
    scripts = {unicodedata.name(letter, "").split(" ")[0] for letter in word if letter.isalpha()}
    greek_letter = scripts <= {"GREEK", "MICRO"} and len(word) == 1
    return bool(scripts) and not scripts & {"LATIN", "FULLWIDTH"} and not greek_letter


def _runs(words: Sequence[_Word]) -> list[list[_Word]]:
    """Return the runs of words between words that end a noun phrase."""
    runs: list[list[_Word]] = []
    run: list[_Word] = []
    for i, word in enumerate(words):
        following = words[i + 1].text if i + 1 < len(words) else ""
        if _goes_on(word.text, run, following):
            run.append(word)
            continue
        runs.append(run)
        run = []
    runs.append(run)
    return [_trimmed(run) for run in runs if _trimmed(run)]


def _goes_on(word: str, run: Sequence[_Word], following: str) -> bool:
    """Tell whether a word belongs to the noun phrase that its preceding words, `run`, may have begun."""
    more = bool(following) and following[0].isalnum() and following not in _BREAKS
    part = run[max((n for n, one in enumerate(run, 1) if one.text == "of"), default=0) :]
    has_noun = any(map(_is_content, part)) and not _is_modifier(run[-1].text)
    if word == "of":
        return has_noun and more
    if word == "and":
        # Between two adjectives, as in a black and white cat.
        modifiers = [one.text for one in run if one.text not in _DETERMINERS]
        return bool(modifiers) and all(map(_is_modifier, modifiers)) and more and following not in _DETERMINERS
    if not word[0].isalnum() or word in _BREAKS:
        return False
    if word in _DETERMINERS and has_noun:
        # It begins the next phrase, as in cells the size of grains.
        return False
    if not _is_verbal(word):
        return True
    if has_noun:
        return False
    # Before a noun it is an adjective, as in damaged cells; before an article it is a verb, as in holding a cup.
    return (more and following not in _DETERMINERS and following != "of") or not more


def _trimmed(run: Sequence[_Word]) -> list[_Word]:
    """Return a phrase without words at its end that cannot end a phrase."""
    words = list(run)
    while words and (words[-1].text in _DETERMINERS or words[-1].text == "of"):
        words.pop()
    return words


def _is_content(word: _Word) -> bool:
    return word.text not in _DETERMINERS | _ADJECTIVES and word.text not in ("of", "and") and not word.text.isdecimal()


def _is_modifier(word: str) -> bool:
    return word in _ADJECTIVES or _is_verbal(word) or (word.endswith("ly") and len(word) > 4)


def _is_verbal(word: str) -> bool:
    return word not in _NOUNS and len(word) >= 5 and word.endswith(("ing", "ed"))
