"""The words the nano model's tasks are made of: constants, no code."""

from __future__ import annotations

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip

WORDS = tuple(
    """
    able about above acid across action after again air album alley amber anchor angle animal
    answer apple april arch area arm arrow artist atom aunt autumn baby back badge baker ball
    band bank barn basket beach bean bear bed bell bench bird black blade block blue board
    boat body bone book border bottle bottom bowl box brain branch brave bread brick bridge
    bright brother brown brush bucket butter button cabin cable cake camel camera candle
    canvas card carpet castle cat chain chair chalk cheese cherry chess child church circle
    city clay clean cliff clock cloth cloud coal coast coat coffee coin cold color copper corn
    cotton cousin cover cream crow crown cup curtain dance danger dark daughter desert desk
    dinner doctor dog door dragon dream dress drum duck dust eagle ear early earth east egg
    elbow engine evening eye face family farm feather fence field finger fire fish flag flame
    flour flower fog forest fork fox friend frog fruit garden gate ghost giant gift glass
    glove goat gold grain grape grass green guest guitar hair hammer hand harbor hat heart
    heavy hedge hill honey horse hotel house ice ink iron island ivory jacket jar jewel juice
    jump kettle key king kitchen kite knee knife lake lamp large laugh leaf lemon letter light
    lily lion little lock magic map market meadow metal milk mirror money monkey moon morning
    mother mountain mouse music nail narrow needle nest night north nose ocean olive onion
    orange oven owl page paint palace paper park path peach pear pen pencil pepper piano
    pillow pilot pine pink pipe plain planet plate pocket poem pond potato pretty prince
    purple quick quiet rabbit radio rain red ribbon rice ring river road rock roof room root
    rope rose round salt sand school sea seed shadow sheep shell ship shirt shoe silver sister
    skin sky sleep small smoke snake snow soap song south spider spoon spring square stable
    star stone storm street sugar summer sun swan table tail tall tea thunder tiger tomato
    tower town train tree valley velvet village violin voice wagon wall warm water west wheat
    wheel white wide wind window winter wire wolf wood wool yellow young zebra
    """.split()
)
