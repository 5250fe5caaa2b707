"""Units with what they measure, and the words that matter to an answer."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple


class Measure(NamedTuple):
    """What a unit measures: base -> power, and how many of the base units it is."""

    bases: tuple[tuple[str, int], ...]
    factor: Fraction


def _table(text: str) -> dict[str, Measure]:
    """Lines `bases: names = factor; names = factor`, as `length^2: acre acres = 4046.86`."""
    found: dict[str, Measure] = {}
    for line in text.strip().splitlines():
        head, _, rows = line.partition(":")
        bases = tuple(
            sorted(
                (name, int(power or 1))
                for name, _, power in (one.partition("^") for one in head.split())
            )
        )
        for row in rows.split(";"):
            names, _, factor = row.strip().rpartition("=")
            for name in names.split():
                found[name] = Measure(bases, Fraction(factor.strip()))
    return found


MEASURES = _table("""
length: m meter meters metre metres 米 = 1
length: km kilometer kilometers kilometre kilometres 千米 公里 = 1000
length: cm cms centimeter centimeters centimetre centimetres 厘米 = 1/100
length: dm decimeter decimeters 分米 = 1/10
length: mm millimeter millimeters millimetre millimetres 毫米 = 1/1000
length: nm nanometer nanometers = 1/1000000000
length: μm um micrometer micrometers micron microns = 1/1000000
length: in inch inches = 254/10000; ft foot feet = 3048/10000; yd yds yard yards = 9144/10000
length: mi mile miles = 1609344/1000
length^2: acre acres = 40468564224/10000000; ha hectare hectares = 10000; 平方米 = 1
length^2: 平方厘米 = 1/10000
length^2: 平方千米 = 1000000; 平方分米 = 1/100
length^3: L l liter liters litre litres 升 = 1/1000; 立方米 = 1; 立方厘米 cc = 1/1000000
length^3: mL ml milliliter milliliters 毫升 = 1/1000000
length^3: gal gallon gallons = 3785411784/1000000000000
mass: kg kgs kilo kilos kilogram kilograms 千克 公斤 = 1; g gm gms gram grams 克 = 1/1000
mass: mg milligram milligrams = 1/1000000; ton tons = 90718474/100000; tonne tonnes 吨 = 1000
mass: lb lbs pound pounds = 45359237/100000000; oz ounce ounces = 45359237/1600000000
time: s sec secs second seconds 秒 = 1; min mins minute minutes 分钟 = 60
time: h hr hrs hour hours 小时 = 3600
time: ms millisecond milliseconds = 1/1000; μs us microsecond microseconds = 1/1000000
time: ns nanosecond nanoseconds = 1/1000000000; day days 天 = 86400; wk week weeks 周 = 604800
time: month months 月 = 2629800; yr yrs year years 年 = 31557600; decade decades = 315576000
time: century centuries = 3155760000
time^-1: Hz hertz = 1; kHz = 1000; MHz = 1000000; GHz = 1000000000; rpm = 1/60
length time^-1: mph = 1609344/3600000; kmh kph kmph = 1000/3600; fps = 3048/10000
money: $ dollar dollars USD usd = 1; cent cents ¢ = 1/100
euro: € euro euros EUR = 1
won: ₩ won KRW = 1
ruble: ₽ ruble rubles rouble roubles RUB = 1
rupee: ₹ rupee rupees Rs INR = 1; paise = 1/100
yuan: 元 ¥ yuan RMB CNY = 1; 角 = 1/10
angle: ° deg degree degrees 度 = 1
radian: rad rads radian radians = 1
celsius: ℃ celsius = 1
fahrenheit: ℉ fahrenheit = 1
temperature: K kelvin kelvins = 1
mass length time^-2: N newton newtons = 1; kN = 1000
mass length^2 time^-2: J joule joules = 1; kJ = 1000; kWh = 3600000
mass length^2 time^-2: cal calorie calories = 4184/1000; kcal = 4184
mass length^2 time^-2: eV = 801088317/5000000000000000000000000000
mass length^2 time^-2: keV = 801088317/5000000000000000000000000
mass length^2 time^-2: MeV = 801088317/5000000000000000000000
mass length^2 time^-2: GeV = 801088317/5000000000000000000
mass length^2 time^-3: W watt watts = 1; kW = 1000; MW = 1000000
mass length^-1 time^-2: Pa pascal pascals = 1; kPa = 1000; atm = 101325
mass length^2 time^-3 current^-1: V volt volts = 1; kV = 1000; mV = 1/1000
mass length^2 time^-3 current^-2: Ω ohm ohms = 1; kΩ = 1000
current: A amp amps ampere amperes = 1; mA = 1/1000
current time: C coulomb coulombs = 1
amount: mol mole moles = 1; mmol = 1/1000
""")
"""Unit -> what it measures. A letter of several meanings has its most common one; 'pound' is no
currency here."""
_CLASSES = """
half of the day: am a.m. a.m; pm p.m. p.m; 上午; 下午
month: january jan; february feb; march mar; april apr; may; june jun; july jul; august aug
month: september sep sept
month: october oct; november nov; december dec
weekday: monday; tuesday; wednesday; thursday; friday; saturday; sunday
era: bc bce; ad ce
direction: north northward; south southward; east eastward; west westward; northeast; northwest
direction: southeast; southwest
way: up upward upwards; down downward downwards; left; right; forward; backward
sex: boys men male; girls women female
"""
QUALIFIERS = {
    name: (line.partition(":")[0], names.split()[0])
    for line in _CLASSES.strip().splitlines()
    for names in line.partition(":")[2].split(";")
    for name in names.split()
}
"""Words that tell values of one kind apart -> (kind, word). Two different ones of a kind are two
values."""
SCALES = {
    "percent": Fraction(1, 100),
    "percentage": Fraction(1, 100),
    "pct": Fraction(1, 100),
    "%": Fraction(1, 100),
    "hundred": Fraction(100),
    "thousand": Fraction(1000),
    "million": Fraction(10**6),
    "millions": Fraction(10**6),
    "billion": Fraction(10**9),
    "billions": Fraction(10**9),
    "trillion": Fraction(10**12),
    "dozen": Fraction(12),
    "dozens": Fraction(12),
    "halves": Fraction(1, 2),
    "thirds": Fraction(1, 3),
    "fourths": Fraction(1, 4),
    "fifths": Fraction(1, 5),
    "sixths": Fraction(1, 6),
    "eighths": Fraction(1, 8),
    "tenths": Fraction(1, 10),
    "hundredths": Fraction(1, 100),
    "thousandths": Fraction(1, 1000),
    "万": Fraction(10**4),
    "亿": Fraction(10**8),
}
"""Words that multiply. Data sets give the bare number too ("what percent", "how many millions"):
both are right."""


def words_of(text: str, separator: str | None = None) -> frozenset[str]:
    """The words of a text, or its parts between a separator."""
    return frozenset(text.split(separator))


UNITS = frozenset(MEASURES) | frozenset(SCALES) | words_of("am pm AM PM sq cu pts pt units unit th")
BARE_UNITS = words_of(
    "cm km kg mm ft mL ml lb lbs oz hr hrs min mins sec secs mph kmh kph kmph mg kWh kJ kW kN kPa"
    " Hz mol cms kgs yrs gal rpm cal kcal USD EUR GBP AM PM pts sq cu percent pct °C °F"
    " CHF CAD AUD HKD SGD NZD JPY CNY RMB INR kr eV keV MeV GeV deg rad"
)
"""Units that are read as such among letters in mathematics; `nm`, `in` or `am` might be products
there."""
_COUNTING = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen twenty"
)
_TENS = "ten twenty thirty forty fifty sixty seventy eighty ninety hundred"
NUMBER_WORDS = {name: value for value, name in enumerate(_COUNTING.split())} | {
    name: 10 * place for place, name in enumerate(_TENS.split(), start=1)
}
DANGEROUS = words_of(
    "or either else maybe perhaps possibly probably alternatively otherwise instead rather versus"
    " vs not no never none neither nor cannot isn aren wasn doesn don is are was were be been has"
    " have does did could might must should would but however though although unless except plus"
    " factorial choose divided minus than half 不 非 没 或"
)
"""Words that make a statement or another value of what stands beside them; a unit or a thing
counted needs none."""
VERDICTS = words_of("wrong false incorrect untrue invalid impossible")
"""As the last word they judge the value; before another one ("wrong answers") they belong to what
is counted."""
LEADING_DANGERS = words_of(
    "less fewer more most least over under above below between before after twice double triple"
    " near nearly almost negative opposite every each no"
    " until 至少 至多 大于 小于 超过 不到 不是 负"
)
"""Words that change the value behind them."""
COPULAS = words_of("is|are|be|was|were|equals|equal|is equal to|equal to|为|是|等于|就是", "|")
"""Words that say `=`."""
AND = words_of("and 和 与 以及 及 且 &")
OR = words_of("or|或|或者|i.e|that is|or equivalently|equivalently", "|")
SHORT_WORDS = words_of(
    "or and if is no not yes of the to in on at by for per sq cu nd rd st th up down east west left"
    " right men day days all any odd even none true false least most only where when with such that"
    " real pts dne dogs cats eggs boys girl cup cups box cars mean area avg"
) | frozenset(NUMBER_WORDS)
"""Words of two to four letters that are words even among variables."""
PROSE_WORDS = words_of("we it he as so an do my go us am me be its let thus hence")
"""Words of one or two letters outside of mathematics."""
EMPTY = re.compile(
    r"(?:the )?(?:empty|null) set|无解|空集|none exist|(?:(?:it|the \w{1,12}|this) has )?"
    r"(?:there (?:is|are|exists?) )?no (?:(?:such|real|integer|integral|positive|possible|valid"
    r"|rational|complex|natural) ){0,3}(?:solutions?|roots?|numbers?|values?|integers?|[a-z])"
    r"(?: exists?| in the reals)?"
)
"""What says that nothing is a solution, as a whole."""
REALS = words_of(
    "all real numbers|all reals|the real numbers|real numbers|reals|the set of all real numbers|any"
    " real number|every real number|all real x|any real x|every real x|all x|all real values"
    "|all real values of x|全体实数|实数",
    "|",
)
