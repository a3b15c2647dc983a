"""The English wordings of the word problems.

`{n}` and `{m}` are names, `{x}` the plural of an item, `{one}` its singular, `{a}` `{b}` `{c}` the numbers in the order in which the
schema's steps use them.
"""

ENGLISH: dict[str, tuple[str, ...]] = {
    # one step
    "gain": (
        "{n} has {a} {x}. {m} gives {n} {b} more {x}. How many {x} does {n} have now?",
        "{n} had {a} {x} and then found {b} more. How many {x} does {n} have now?",
    ),
    "together": (
        "{n} has {a} {x} and {m} has {b} {x}. How many {x} do they have together?",
        "There are {a} {x} from {n} and {b} {x} from {m}. How many {x} are there together?",
    ),
    "two_days": (
        "{n} picked {a} {x} on Monday and {b} {x} on Tuesday. How many {x} did {n} pick in all?",
        "On Monday {n} found {a} {x}. On Tuesday {n} found {b} {x}. How many {x} is that in all?",
    ),
    "two_boxes": (
        "There are {a} {x} in the red box and {b} {x} in the blue box. How many {x} are there in total?",
        "One box holds {a} {x} and another box holds {b} {x}. How many {x} are there in total?",
    ),
    "more_than": (
        "{n} has {a} {x}. {m} has {b} more {x} than {n}. How many {x} does {m} have?",
        "{n} collected {a} {x}, and {m} collected {b} more than that. How many {x} did {m} collect?",
    ),
    "older": (
        "{n} is {a} years old. How old will {n} be in {b} years?",
        "Today {n} is {a} years old. What will the age of {n} be after {b} years?",
    ),
    "bus_on": (
        "There are {a} people on a bus. At the stop {b} more people get on. How many people are on the bus now?",
        "A bus carries {a} people, then {b} people get on. How many people are on the bus now?",
    ),
    "pages_read": (
        "{n} read {a} pages in the morning and {b} pages in the evening. How many pages did {n} read?",
        "{n} reads {a} pages of a book, then {b} more pages. How many pages did {n} read?",
    ),
    "give": (
        "{n} has {a} {x} and gives {b} of them to {m}. How many {x} does {n} have left?",
        "{n} had {a} {x}. {m} got {b} of them. How many {x} are left for {n}?",
    ),
    "lose": (
        "{n} had {a} {x} but lost {b} of them. How many {x} are left?",
        "There were {a} {x} in the bag of {n}. {b} of them fell out. How many {x} are left?",
    ),
    "sell": (
        "A shop has {a} {x} and sells {b} of them. How many {x} are left in the shop?",
        "{n} brings {a} {x} to the market and sells {b}. How many {x} are left?",
    ),
    "fewer": (
        "{n} has {a} {x}. {m} has {b} fewer {x} than {n}. How many {x} does {m} have?",
        "{n} collected {a} {x}, and {m} collected {b} fewer than that. How many {x} did {m} collect?",
    ),
    "difference": (
        "{n} has {a} {x} and {m} has {b} {x}. How many more {x} does {n} have than {m}?",
        "There are {a} {x} on the table and {b} {x} on the floor. How many more {x} are on the table?",
    ),
    "pages_left": (
        "A book has {a} pages. {n} has read {b} pages. How many pages are left to read?",
        "{n} reads a book of {a} pages and has finished {b} pages. How many pages are left?",
    ),
    "bus_off": (
        "There are {a} people on a bus. At the stop {b} people get off. How many people are still on the bus?",
        "A bus carries {a} people, then {b} people get off. How many people are still on the bus?",
    ),
    "spend": (
        "{n} has {a} coins and spends {b} coins on a {one}. How many coins are left?",
        "{n} pays {b} coins for a {one} out of {a} coins. How many coins does {n} keep?",
    ),
    "need": (
        "{n} needs {a} {x} and already has {b}. How many more {x} does {n} need?",
        "{n} wants to collect {a} {x} and has {b} so far. How many {x} are still missing?",
    ),
    "bags": (
        "{n} has {a} bags with {b} {x} in each bag. How many {x} does {n} have?",
        "There are {a} bags and each bag holds {b} {x}. How many {x} are there?",
    ),
    "daily": (
        "{n} makes {b} {x} every day. How many {x} does {n} make in {a} days?",
        "For {a} days {n} finds {b} {x} each day. How many {x} does {n} find?",
    ),
    "price": (
        "A {one} costs {b} coins. {n} buys {a} {x}. How many coins does {n} pay?",
        "{n} buys {a} {x} for {b} coins each. How many coins does {n} pay?",
    ),
    "rows": (
        "{n} lays {x} in {a} rows with {b} in each row. How many {x} does {n} lay?",
        "There are {a} rows of {x} and each row has {b}. How many {x} are there?",
    ),
    "share": (
        "{n} shares {a} {x} equally among {b} friends. How many {x} does each friend get?",
        "{b} friends share {a} {x} equally. How many {x} does each friend get?",
    ),
    "pack": (
        "{n} packs {a} {x} into boxes of {b}. How many boxes does {n} need?",
        "Each box holds {b} {x}. How many boxes does {n} need for {a} {x}?",
    ),
    "reading_days": (
        "A book has {a} pages. {n} reads {b} pages every day. How many days does {n} need?",
        "{n} reads {b} pages a day. How many days does a book of {a} pages take?",
    ),
    # two steps
    "gain_give": (
        "{n} has {a} {x}, gets {b} more and gives {c} to {m}. How many {x} does {n} have now?",
        "{n} had {a} {x}. {n} found {b} more and then lost {c}. How many {x} does {n} have now?",
    ),
    "give_gain": (
        "{n} has {a} {x}, gives {b} to {m} and then finds {c} more. How many {x} does {n} have now?",
        "{n} had {a} {x}. {n} lost {b} and then bought {c} more. How many {x} does {n} have now?",
    ),
    "gain_gain": (
        "{n} has {a} {x}. {n} gets {b} more in the morning and {c} more in the evening. How many {x} does {n} have now?",
        "{n} picks {a} {x} on Monday, {b} on Tuesday and {c} on Wednesday. How many {x} is that in all?",
    ),
    "give_give": (
        "{n} has {a} {x}. {n} gives {b} to {m} and {c} to a friend. How many {x} are left?",
        "A shop has {a} {x}. It sells {b} in the morning and {c} in the evening. How many {x} are left?",
    ),
    "bus_both": (
        "There are {a} people on a bus. {b} people get on and {c} people get off. How many people are on the bus now?",
        "A bus carries {a} people. At the stop {b} get on, and later {c} get off. How many people are on the bus now?",
    ),
    "bus_off_on": (
        "There are {a} people on a bus. {b} people get off and {c} people get on. How many people are on the bus now?",
        "A bus carries {a} people. At the stop {b} get off, and later {c} get on. How many people are on the bus now?",
    ),
    "bags_plus": (
        "{n} has {a} bags with {b} {x} each and {c} more {x} on the table. How many {x} does {n} have?",
        "There are {a} bags of {b} {x}. {n} adds {c} more {x}. How many {x} are there?",
    ),
    "bags_minus": (
        "{n} has {a} bags with {b} {x} each and gives {c} {x} to {m}. How many {x} does {n} have left?",
        "There are {a} bags of {b} {x}. {n} takes {c} {x} away. How many {x} are left?",
    ),
    "price_plus": (
        "{n} buys {a} {x} for {b} coins each and a bag for {c} coins. How many coins does {n} pay?",
        "A {one} costs {b} coins. {n} buys {a} {x} and pays {c} coins more for a box. How many coins is that?",
    ),
    "price_off": (
        "{n} buys {a} {x} for {b} coins each. The shop takes {c} coins off. How many coins does {n} pay?",
        "A {one} costs {b} coins. {n} buys {a} {x} and pays {c} coins less. How many coins does {n} pay?",
    ),
    "change": (
        "{n} buys {a} {x} for {b} coins each and had {c} coins before. How many coins are left?",
        "A {one} costs {b} coins. {n} buys {a} {x} out of {c} coins. How many coins are left?",
    ),
    "join_share": (
        "{n} has {a} {x} and {m} has {b} {x}. They share all of them equally among {c} friends. How many {x} does each friend get?",
        "{n} puts {a} {x} and {b} {x} together and shares them among {c} friends. How many {x} does each friend get?",
    ),
    "give_share": (
        "{n} has {a} {x}, keeps {b} and shares the rest equally among {c} friends. How many {x} does each friend get?",
        "{n} loses {b} of {a} {x} and shares the rest among {c} friends. How many {x} does each friend get?",
    ),
    "share_plus": (
        "{a} {x} are shared equally among {b} friends. {n} is one of them and had {c} {x} before. How many {x} does {n} have now?",
        "{b} friends share {a} {x} equally. {n} is one of them and finds {c} more. How many {x} does {n} have now?",
    ),
    "share_minus": (
        "{a} {x} are shared equally among {b} friends. {n} is one of them and gives away {c}. How many {x} does {n} have now?",
        "{b} friends share {a} {x} equally. {n} is one of them and loses {c}. How many {x} does {n} have now?",
    ),
    "both_daily": (
        "Every day {n} makes {a} {x} and {m} makes {b} {x}. How many {x} do they make in {c} days?",
        "{n} finds {a} {x} a day and {m} finds {b} {x} a day. How many {x} do they find in {c} days?",
    ),
    "kept_daily": (
        "Every day {n} makes {a} {x} and sells {b} of them. How many {x} does {n} keep in {c} days?",
        "{n} picks {a} {x} a day and gives away {b} a day. How many {x} does {n} keep after {c} days?",
    ),
    "more_total": (
        "{n} has {a} {x}. {m} has {b} more {x} than {n}. How many {x} do they have together?",
        "{n} found {a} {x}, and {m} found {b} more than {n}. How many {x} did both find together?",
    ),
    "fewer_total": (
        "{n} has {a} {x}. {m} has {b} fewer {x} than {n}. How many {x} do they have together?",
        "{n} found {a} {x}, and {m} found {b} fewer than {n}. How many {x} did both find together?",
    ),
    "pages_two_days": (
        "A book has {a} pages. {n} reads {b} pages on Monday and {c} pages on Tuesday. How many pages are left?",
        "{n} has {a} pages to read. After {b} pages in the morning and {c} in the evening, how many pages are left?",
    ),
    "boxes_left": (
        "{n} packs {a} {x} into boxes of {b} and gives {c} boxes to {m}. How many boxes are left?",
        "Each box holds {b} {x}. {n} fills boxes with {a} {x} and sells {c} boxes. How many boxes are left?",
    ),
    "rows_plus": (
        "{n} lays {x} in {a} rows of {b} and then adds {c} more. How many {x} are there now?",
        "There are {a} rows of {b} {x}, and {m} brings {c} more. How many {x} are there now?",
    ),
}
