"""The words of ToneWords in each language: opposites that sound alike, neutral words, keywords and sentences.

An affix is as often good as bad, and neutral words have them too, so a syllable gives nothing away: only the whole word
tells the sentiment. Words stand where they are not inflected.
"""

from __future__ import annotations

from dataclasses import dataclass

from sonolex.data.corpora._spoken import ACCENTS


@dataclass(frozen=True)
class Lexicon:
    """The words of one language.

    Attributes:
        accents: espeak-ng's voices of the language.
        opposites: pairs, positive first, separated by commas.
        neutral: as many neutral words.
        keywords: what a sentence may be about, by its English name, with its article where the language needs one.
        templates: sentences with a keyword ``{k}`` and two words ``{a}``, ``{b}``.
    """

    accents: tuple[str, ...]
    opposites: str
    neutral: str
    keywords: dict[str, str]
    templates: tuple[str, ...]

    @property
    def words(self) -> dict[str, list[str]]:
        """The words of each sentiment."""
        pairs = [pair.split() for pair in self.opposites.split(",")]
        return {"positive": [p[0] for p in pairs], "negative": [p[1] for p in pairs], "neutral": self.neutral.split()}


ENGLISH = Lexicon(
    ACCENTS,
    """
    careful careless, hopeful hopeless, useful useless, helpful helpless, thoughtful thoughtless, tasteful tasteless,
    restful restless, cheerful cheerless, joyful joyless, graceful graceless, harmless harmful, painless painful,
    fearless fearful, stressless stressful, wasteless wasteful, guiltless guilty, flawless flawed, tireless tired,
    spotless spotted, stainless stained, kind unkind, friendly unfriendly, fair unfair, healthy unhealthy, lucky
    unlucky, reliable unreliable, pleasant unpleasant, tidy untidy, polite impolite, honest dishonest, unforgettable
    forgettable, unspoilt spoilt, unbroken broken, unharmed harmed, undamaged damaged, unpolluted polluted, uncluttered
    cluttered, unbiased biased, untroubled troubled, undefeated defeated
    """,
    """
    wireless cordless sleeveless nameless moonless seedless boneless colourful eventful watchful unwritten unmarried
    unrelated unpainted unnamed unofficial unequal unseen informal indirect local usual public annual central modern
    digital formal regular standard written related painted official wooden northern weekly monthly early square
    """,
    {
        "concert": "concert",
        "dinner": "dinner",
        "garden": "garden",
        "holiday": "holiday",
        "hotel": "hotel",
        "lesson": "lesson",
        "meeting": "meeting",
        "movie": "movie",
        "phone": "phone",
        "weather": "weather",
    },
    (
        "the {k} was {a} and {b}",
        "this {k} is really {a} and {b}",
        "what a {a} and {b} {k}",
        "they had a {a} {k} so {b}",
        "that {a} {k} looked {b} today",
    ),
)

GERMAN = Lexicon(
    ("de",),
    """
    hilfreich hilflos, geschmackvoll geschmacklos, liebevoll lieblos, humorvoll humorlos, rücksichtsvoll rücksichtslos,
    hoffnungsvoll hoffnungslos, sinnvoll sinnlos, stilvoll stillos, fantasievoll fantasielos, wertvoll wertlos,
    gefahrlos gefährlich, schmerzlos schmerzhaft, fehlerlos fehlerhaft, mühelos mühsam, furchtlos furchtsam, sorglos
    sorgenvoll, faltenlos faltig, fleckenlos fleckig, lückenlos lückenhaft, zweifellos zweifelhaft, freundlich
    unfreundlich, gesund ungesund, glücklich unglücklich, zuverlässig unzuverlässig, angenehm unangenehm, ordentlich
    unordentlich, höflich unhöflich, ehrlich unehrlich, beliebt unbeliebt, bequem unbequem, unverdorben verdorben,
    unbeschädigt beschädigt, unverletzt verletzt, unbelastet belastet, ungetrübt getrübt, unbeschwert beschwert,
    unverfälscht verfälscht, unbesiegt besiegt, unbescholten gescholten, unversehrt versehrt
    """,
    """
    drahtlos kabellos ärmellos namenlos kernlos wortlos mondlos nahtlos ereignisreich wasserhaltig ungeschrieben
    unverheiratet unbemalt unbenannt unsichtbar ungleich unvermietet inoffiziell indirekt informell örtlich üblich
    öffentlich jährlich zentral modern digital förmlich regelmäßig geschrieben verwandt bemalt amtlich hölzern nördlich
    wöchentlich monatlich morgendlich vermietet quadratisch
    """,
    {
        "concert": "das Konzert",
        "dinner": "das Essen",
        "garden": "der Garten",
        "holiday": "der Urlaub",
        "hotel": "das Hotel",
        "lesson": "der Unterricht",
        "meeting": "das Treffen",
        "movie": "der Film",
        "phone": "das Telefon",
        "weather": "das Wetter",
    },
    (
        "{k} war {a} und {b}",
        "{k} ist wirklich {a} und {b}",
        "wie {a} und {b} {k} war",
        "heute schien {k} {a} und {b}",
        "{a} war {k} und so {b}",
    ),
)

SPANISH = Lexicon(
    ("es", "es-419"),
    """
    útil inútil, feliz infeliz, justo injusto, sano malsano, cómodo incómodo, seguro inseguro, honesto deshonesto, leal
    desleal, agradable desagradable, ordenado desordenado, paciente impaciente, perfecto imperfecto, fiel infiel, digno
    indigno, humano inhumano, decente indecente, sensible insensible, estable inestable, exacto inexacto, capaz incapaz,
    puro impuro, maduro inmaduro, educado maleducado, afortunado desafortunado, favorable desfavorable, cortés
    descortés, organizado desorganizado, grato ingrato, prudente imprudente, responsable irresponsable, inofensivo
    ofensivo, inmaculado manchado, indoloro doloroso, incansable cansado, invencible vencido, inolvidable olvidable,
    inalterado alterado, ilimitado limitado, inagotable agotado, desahogado ahogado
    """,
    """
    inalámbrico invisible indirecto informal impar inédito ilustrado ingrávido desigual deshabitado desnatado
    desconocido desmontable independiente intermedio importado impreso inicial incoloro inaudible visible directo formal
    local usual público anual central moderno digital regular escrito pintado oficial norteño semanal mensual temprano
    cuadrado habitado
    """,
    {
        "concert": "el concierto",
        "dinner": "el almuerzo",
        "garden": "el jardín",
        "holiday": "el viaje",
        "hotel": "el hotel",
        "lesson": "el curso",
        "meeting": "el encuentro",
        "movie": "el cine",
        "phone": "el teléfono",
        "weather": "el tiempo",
    },
    (
        "{k} fue {a} pero {b}",
        "{k} es realmente {a} y muy {b}",
        "qué {a} y qué {b} {k}",
        "hoy {k} parece {a} y muy {b}",
        "{a} fue {k} y también {b}",
    ),
)

LEXICONS = {"en": ENGLISH, "de": GERMAN, "es": SPANISH}
