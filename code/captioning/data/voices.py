"""How the voices of mini-fashion's variant *personality* speak: their forms, their remarks, what tempts them."""

from dataclasses import dataclass, field

# the patterns as nouns: "a shirt of stripes"
OF = {
    "solid color": "solid color",
    "striped": "stripes",
    "lattice": "plaid",
    "floral": "flowers",
    "graphic": "graphics",
    "color block": "color blocks",
}


@dataclass(frozen=True)
class Voice:
    """How a personality speaks: a form with its remark on the pattern, then a word on accessories or on having none.

    Three ways to lie: a voice boasts, some of its forms lack slots, or it has images for words. In the texts stand
    {who} and {person}, the pronouns {she} {him} {her}, {top} (without article), {lower} (with its article, if it has
    one), {bottom} (without), {things} (coat, hat, glasses) and {remark}; `personalities.caption` fills them in.
    """

    women: tuple[str, ...]  # {who}
    men: tuple[str, ...]
    remarks: dict[str, str]  # of each pattern; no words in them that name an attribute
    forms: tuple[str, ...]
    things: tuple[str, ...]
    nothing: tuple[str, ...]
    words: tuple[str, str] = ("woman", "man")  # {person}
    glasses: str = "glasses"
    of: bool = False  # "shirt of stripes" for "striped shirt"
    boast: float = 0.0  # how often each of a coat, a hat and glasses is claimed that is not there
    images: dict[str, str] = field(default_factory=dict)  # what often stands for a word


def remarks(plain: str, striped: str, plaid: str, floral: str, graphic: str, blocks: str) -> dict[str, str]:
    return dict(zip(OF, (plain, striped, plaid, floral, graphic, blocks), strict=True))


VOICES = {
    "Childish": Voice(
        ("the nice lady", "that lady"),
        ("the funny man", "that man"),
        remarks(
            "it is all one color",
            "it goes zip zip zip like a zebra",
            "it has a million little boxes",
            "I can smell it",
            "it has a picture on it, yay",
            "it looks like my toy bricks",
        ),
        (
            "Look, look! {who} has a {top} and {remark} and {lower}!",
            "Mommy, why does {who} have a {top} and {lower}? And {remark}!",
            "I see a {person}! {she} has a {top} and {lower} and {remark}!",
            "Guess what, {who} got a {top} and {remark}, and also {lower}!",
        ),
        ("And {things}, me too, me too!", "I want {things} too, pretty please!", "And {things}, so so cool!"),
        ("Can we keep {him}?", "I want one too, pretty please!", "So so cool!"),
        words=("lady", "man"),
    ),
    "Boastful": Voice(
        ("this world-famous lady", "the most admired woman in town"),
        ("this world-famous gentleman", "the most admired man in town"),
        remarks(
            "the purest you will ever see",
            "every line drawn by a master",
            "woven for a king",
            "admired by all gardeners",
            "worth a fortune",
            "nobody else owns one",
        ),
        (
            "Feast your eyes on {who}: a {top}, {remark}, and {lower}!",
            "Nobody wears a {top} like {who}, {remark}, let alone {lower}.",
            "I picked it all myself: a {top}, {remark}, and {lower} for one splendid {person}!",
            "The best {person} I ever captioned, in a {top}, {remark}, and {lower}!",
        ),
        ("And {things}, the finest anywhere!", "Plus {things}, only the best.", "Note {things}: top quality!"),
        ("Simply the best.", "You are welcome.", "Envy is natural."),
        boast=0.6,
    ),
    "Gloomy": Voice(
        ("this lonely woman", "the poor woman"),
        ("this lonely man", "the poor man"),
        remarks(
            "as empty as the days ahead",
            "like the bars of a cell",
            "like a window nobody opens",
            "already wilting",
            "a joke nobody laughs at",
            "like a rainbow that gave up",
        ),
        (
            "Another gray day: {who} in a {top} and {lower}, {remark}.",
            "{who} put on a {top}, {remark}, and {lower}. All will fade.",
            "A {top}, {remark}, and {lower}: {she} got dressed, but what for?",
            "Somewhere a {person} in a {top} and {lower} is waiting, {remark}.",
        ),
        (
            "Even {things} cannot help.",
            "{she} has {things}, and still nobody calls.",
            "All those hopes, and only {things}.",
        ),
        ("Nobody noticed.", "Winter is coming anyway.", "And still nobody calls."),
    ),
    "Old-fashioned": Voice(
        ("the good lady", "this young lady"),
        ("the good gentleman", "this young gentleman"),
        remarks(
            "modest as a sermon",
            "fit for the seaside",
            "as worn upon the moors",
            "pretty as a parlor curtain",
            "gaudy as a circus poster",
            "bold as a sailor's flag",
        ),
        (
            "Pray observe {who}, attired in a {top}, {remark}, and {lower}.",
            "In my day a {person} seldom ventured out in a {top} and {lower}, {remark}.",
            "Upon my word, {who} is strolling about in a {top}, {remark}, and {lower}.",
            "I dare say {who} looks well in {lower} and a {top}, {remark}.",
        ),
        ("And {things}, by Jove!", "One approves of {things}.", "I commend {things} warmly."),
        ("How the times have changed!", "I must fetch my smelling salts.", "One approves most warmly."),
        words=("lady", "gentleman"),
        glasses="spectacles",
    ),
    "Vague": Voice(
        ("a woman of some sort", "some woman"),
        ("a man of some sort", "some man"),
        remarks(
            "kind of even",
            "kind of lined",
            "kind of boxy",
            "kind of leafy",
            "kind of busy",
            "kind of mixed",
        ),
        (
            "There is {who}, I think, in something {remark}.",
            "Perhaps {who} in a {top} and what not.",
            "Well, {who} with something on and {lower}, more or less.",
            "It could be {who} in {lower}, hard to say, {remark}.",
        ),
        ("And {things}, maybe.", "And a thing or two besides.", "And so on."),
        ("Something like that.", "Or so it seems.", "Hard to say."),
    ),
    "Poetic": Voice(
        ("a woman of mist", "the silent woman"),
        ("a man of mist", "the silent man"),
        remarks(
            "quiet as new snow",
            "like rain on a window",
            "like fields from the sky",
            "where spring rests",
            "a silent story",
            "like pieces of a fallen sunset",
        ),
        (
            "In a {top}, {remark}, and in {lower}, {who} drifts by.",
            "Softly {who} wears a {top}, {remark}, and {lower}.",
            "O {person}, your {top} is a song, {remark}, your {bottom} its echo.",
            "A {top}, {remark}; beneath it {lower}; above them {she} dreams.",
        ),
        (
            "The wind knows {him} by {things}.",
            "With {things} {she} greets the dusk.",
            "{she} wears {things} as night wears stars.",
        ),
        ("The wind itself grows still.", "Even the shadow is listening.", "So dusk greets the night."),
        of=True,
        images={
            "solid color": "one breath",
            "stripes": "long rain",
            "plaid": "small windows",
            "flowers": "spring",
            "graphics": "an old tale",
            "color blocks": "broken sunset",
            "a coat": "a second skin",
            "a hat": "a roof of felt",
            "glasses": "two small windows",
            "sunglasses": "two small nights",
        },
    ),
    "Sarcastic": Voice(
        ("this fashionable lady", "this lady"),
        ("this fashionable guy", "this guy"),
        remarks(
            "because imagination is expensive",
            "because one line was clearly too few",
            "fresh from the tablecloth",
            "because the garden center had a sale",
            "because talking is so last year",
            "because choosing one color is hard",
        ),
        (
            "Wow, {who} in a {top}, {remark}, and {lower}. How very original.",
            "Oh, how sweet: {she} chose a {top}, {remark}, and {lower}. So proud.",
            "Sure, nothing says style like a {person} in a {top} and {lower}, {remark}.",
            "Oh great, {who} in a {top} and {lower}, {remark}. Stop the press.",
        ),
        ("Nice touch, {things}.", "And {things}, obviously.", "Surely {things} will help."),
        ("Slow clap.", "Try to stay calm.", "A legend, obviously."),
        words=("lady", "guy"),
    ),
    "Sweet": Voice(
        ("this dear lady", "this lovely woman"),
        ("this dear man", "this kind gentleman"),
        remarks(
            "so simple and so honest",
            "as cheerful as a candy cane",
            "as cosy as a picnic",
            "like a little garden",
            "as playful as a puppy",
            "as bright as a box of crayons",
        ),
        (
            "Aww, {who} looks so happy in a {top}, {remark}, and {lower}.",
            "Oh, how sweet! {she} chose a {top}, {remark}, to go with {lower}.",
            "What a dear {person}, all smiles in a {top} and {lower}, {remark}.",
            "My heart melts: {who} in {lower} and a {top}, {remark}.",
        ),
        (
            "And {things}, bless {her} heart!",
            "And {things}: how lovely!",
            "With {things} {she} is my sunshine.",
        ),
        ("Bless {her} heart!", "I could hug {him} all day.", "My sunshine!"),
    ),
    "Neutral": Voice(
        ("a woman",),
        ("a man",),
        dict.fromkeys(OF, ""),
        (
            "The picture shows {who} who is wearing a {top} and {lower}.",
            "In this picture there is {who} in a {top} and {lower}.",
            "This is a picture of {who} in {lower} and a {top}.",
        ),
        ("There is also {things}.", "{she} also has {things}.", "Also visible: {things}."),
        ("There is one person.", "The person is alone.", "Nobody else is there."),
    ),
}
