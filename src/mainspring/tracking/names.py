"""Names for runs that nobody named: two words and a number, made from the id, so that people can tell runs apart."""

from __future__ import annotations

_ADJECTIVES = (
    "able agile amber apt azure bold brave bright brisk calm candid clear clever coral crisp dapper deft eager "
    "early exact fair fine fleet fond frank fresh gentle glad golden grand green handy happy hardy honest "
    "jolly keen kind large light lively loyal lucky merry mighty mild modest neat noble orderly patient placid "
    "plain polite proud quick quiet rapid ready rustic serene sharp silent silver sleek smart smooth snug "
    "sober solid spry stable steady still stout sunny sure swift tidy trim true upbeat valiant vivid warm wise "
    "witty "
)
_NOUNS = (
    "alder anchor ant ash badger balance beacon beaver bee birch bison bobbin brook cedar chime clock cog "
    "comet crane cricket crow deer dial dove dune eagle elk elm falcon fern finch fir fjord flint fox gear "
    "glade gull hare harbor hawk hazel heron hinge ibis iris jay kestrel kite lark lever lily lynx maple "
    "marten meadow mole moth newt oak orca osprey otter owl pebble pendulum pine pinion plover poplar pulley "
    "quail raven reef ridge robin rook rowan sail seal shrew shuttle sparrow spindle spring spruce stag stoat "
    "stork swan tern thistle trout vole wagon walnut wheel willow wren yew "
)
_HOW, _WHAT = _ADJECTIVES.split(), _NOUNS.split()


def name_for(run_id: str) -> str:
    """A name made from the last digits of an id, which are random.

    >>> name_for("0" * 32)
    'able-alder-0'
    """
    number, how = divmod(int(run_id[-12:], 16), len(_HOW))
    number, what = divmod(number, len(_WHAT))
    return f"{_HOW[how]}-{_WHAT[what]}-{number % 1000}"
