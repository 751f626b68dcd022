"""Names for runs that were given none: easy to say, and the same for the same run id."""

_ADJECTIVES = (
    "able amber amused ancient bold brave bright brisk calm careful charming clever cosmic crisp curious "
    "daring deft eager early elegant fair fancy fast fearless fine fluent fond gentle glad golden good "
    "graceful grand happy honest humble jolly keen kind lively lucid lucky merry mighty modest neat "
    "nimble noble patient placid polite proud quick quiet rapid rare ready serene sharp silent sincere "
    "smart smooth solid spry steady stellar stoic subtle sunny swift thoughtful tidy upbeat useful "
    "valiant vivid warm wise witty zesty"
).split()
_NOUNS = (
    "ant auk badger bat bear bee bird boar calf carp cat chimp cod colt conch cow crab crane crow cub "
    "deer doe dog dolphin dove duck eel elk ewe fawn finch fish flea fly foal fowl fox frog gnat gnu goat "
    "goose grouse grub gull hare hawk hen heron hog horse hound jay kit kite koi lamb lark loon lynx mare "
    "midge mink mole moose moth mouse mule newt owl ox panda penguin perch pig pug quail ram rat ray "
    "robin roo rook seal shad shark sheep shoat shrew shrike shrimp skunk sloth slug smelt snail snake "
    "snipe sow sponge squid squirrel stag steed stoat stork swan tern toad trout turtle vole wasp whale "
    "wolf worm wren yak zebra"
).split()


def random_name(run_id: str) -> str:
    """A name such as "keen-otter-402", drawn from the random digits of `run_id` (32 hexadecimal digits)."""
    number = int(run_id[:16], 16)
    adjective = _ADJECTIVES[number % len(_ADJECTIVES)]
    noun = _NOUNS[number // 1_000 % len(_NOUNS)]
    return f"{adjective}-{noun}-{number // 1_000_000 % 1_000}"
