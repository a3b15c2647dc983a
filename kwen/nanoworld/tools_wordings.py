"""How single tools are asked for and answered about, apart from the record tools.

Placeholders are the tool's parameters and, in answers, `{v}` for its result. Held-out phrasings are the only ones of held-out tools.
"""

from dataclasses import dataclass

from kwen.nanoworld.names import Language, Split


@dataclass(frozen=True, slots=True)
class Requests:
    """Training and held-out requests in both languages."""

    english: tuple[str, ...]
    chinese: tuple[str, ...]
    held_out_english: tuple[str, ...]
    held_out_chinese: tuple[str, ...]

    def requests(self, language: Language, split: Split) -> tuple[str, ...]:
        """The requests of a language and split."""
        if split == "train":
            return self.english if language == "en" else self.chinese
        return self.held_out_english if language == "en" else self.held_out_chinese


@dataclass(frozen=True, slots=True)
class Wording(Requests):
    """Requests and, in both languages, the answer to all of them."""

    answer_english: str
    answer_chinese: str

    def answer(self, language: Language) -> str:
        """The answer in a language."""
        return self.answer_english if language == "en" else self.answer_chinese


NOUN_FRAMES: dict[Language, dict[Split, tuple[str, ...]]] = {
    "en": {
        "train": (
            "What is {np}?", "Tell me {np}.", "Please tell me {np}.", "Can you find {np}?", "I want to know {np}.", "Do you know {np}?",
            "{Np}, please.", "Hello! What is {np}?", "I would like to know {np}.", "{Np} is what?",
        ),
        "held_out": ("Could you tell me {np}?", "Find out {np}.", "I need {np}.", "Say what {np} is."),
    },
    "zh": {
        "train": (
            "{np}是什么？", "告诉我{np}。", "请告诉我{np}。", "你能查到{np}吗？", "我想知道{np}。", "请问{np}？", "你知道{np}吗？", "查一下{np}。",
        ),
        "held_out": ("你可以告诉我{np}吗？", "帮我查查{np}。", "我需要{np}。"),
    },
}  # fmt: skip
"""Requests for what a noun phrase `{np}` (`{Np}` with a capital) names."""

RECORD_ANSWER: dict[Language, str] = {"en": "{Np} is {v}.", "zh": "{np}是{v}。"}
RESULT: dict[Language, str] = {"en": "The answer is {v}.", "zh": "答案是{v}。"}
NO_TOOL: dict[Language, str] = {"en": "I cannot do that: I have no tool for it.", "zh": "我做不到：我没有合适的工具。"}
"""The honest answer where no offered tool can do what was asked."""

WORDINGS: dict[str, Wording] = {
    "order": Wording(
        ("Order {count} {item}.", "Please order {count} {item} for me.", "I want to order {count} {item}.", "Buy {count} {item} in the shop.", "I would like {count} {item}, please order them."),
        ("订购{count}个{item}。", "请帮我订{count}个{item}。", "我想订{count}个{item}。", "给我下单{count}个{item}。"),
        ("Could you order {count} {item}?", "Place an order for {count} {item}."), ("你可以订{count}个{item}吗？", "帮忙订购{item}，要{count}个。"),
        "I ordered {count} {item}. The order number is {v}.", "我订了{count}个{item}，订单号是{v}。",
    ),
    "calendar": Wording(
        ("What is on at {date}?", "What happens on {date}?", "Is there anything on at {date}?", "Which event is on {date}?", "Look at the calendar: what is on {date}?"),
        ("{date}有什么活动？", "{date}那天有什么事？", "看一下日历，{date}有什么活动？", "{date}安排了什么？"),
        ("Could you tell me what is on at {date}?", "What does the calendar say for {date}?"), ("你可以告诉我{date}有什么活动吗？", "日历上{date}写了什么？"),
        "On {date} there is {v}.", "{date}：{v}。",
    ),
    "free": Wording(
        ("Am I free on {date}?", "Is {date} free or busy?", "Do I have time on {date}?", "Is {date} still free?"),
        ("{date}我有空吗？", "我{date}有没有空？", "{date}有时间吗？"),
        ("Could you see if {date} is free?", "Am I busy on {date}?"), ("你可以看看{date}有没有空吗？", "{date}那天我忙不忙？"),
        "{date} is {v}.", "{date}{v}。",
    ),
    "weekday": Wording(
        ("Which weekday is {date}?", "What day of the week is {date}?", "On which weekday is {date}?", "Tell me the weekday of {date}."),
        ("{date}是星期几？", "请问{date}星期几？", "告诉我{date}是星期几。"),
        ("Could you tell me the weekday of {date}?", "{date} falls on which weekday?"), ("你可以告诉我{date}是星期几吗？", "{date}那天星期几？"),
        "{date} is a {v}.", "{date}是{v}。",
    ),
    "distance": Wording(
        ("How far is it from {start} to {goal}?", "What is the distance from {start} to {goal}?", "Tell me the distance from {start} to {goal}.", "From {start} to {goal}, how far is that?"),
        ("从{start}到{goal}有多远？", "{start}到{goal}的距离是多少？", "告诉我{start}到{goal}的距离。", "{start}离{goal}有多远？"),
        ("Could you tell me how far it is from {start} to {goal}?", "I need the distance from {start} to {goal}."), ("你可以告诉我{start}到{goal}有多远吗？", "我要{start}到{goal}的距离。"),
        "It is {v} from {start} to {goal}.", "从{start}到{goal}有{v}。",
    ),
    "way": Wording(
        ("What is the way from {start} to {goal}?", "How do I get from {start} to {goal}?", "Show me the way from {start} to {goal}.", "Which way goes from {start} to {goal}?"),
        ("从{start}到{goal}怎么走？", "怎么从{start}去{goal}？", "告诉我{start}到{goal}的路线。"),
        ("Could you show me the way from {start} to {goal}?", "I am in {start}. How do I find {goal}?"), ("你可以告诉我从{start}到{goal}怎么走吗？", "我在{start}，去{goal}走哪条路线？"),
        "The way from {start} to {goal} goes through {v}.", "从{start}到{goal}要经过{v}。",
    ),
    "bus": Wording(
        ("When does the bus leave from {start} to {goal}?", "At what time goes the bus from {start} to {goal}?", "When is there a bus from {start} to {goal}?"),
        ("从{start}到{goal}的公交车几点开？", "{start}去{goal}的公交车什么时候开？", "几点有从{start}到{goal}的公交车？"),
        ("Could you tell me when the bus from {start} to {goal} leaves?", "I need a bus from {start} to {goal}. When?"), ("你可以告诉我{start}到{goal}的公交车时间吗？", "我要坐公交车从{start}去{goal}，几点？"),
        "The bus from {start} to {goal} leaves at {v}.", "从{start}到{goal}的公交车{v}开。",
    ),
    "convert": Wording(
        ("How much is {value} {unit} in {to}?", "Convert {value} {unit} to {to}.", "What are {value} {unit} in {to}?", "Please convert {value} {unit} into {to}.", "How many {to} are {value} {unit}?"),
        ("{value}{unit}是多少{to}？", "把{value}{unit}换成{to}。", "{value}{unit}等于多少{to}？", "{value}{unit}换算成{to}是多少？"),
        ("Could you convert {value} {unit} to {to}?", "{value} {unit} is how much in {to}?"), ("你可以把{value}{unit}换成{to}吗？", "{value}{unit}合多少{to}？"),
        "{value} {unit} is {v}.", "{value}{unit}是{v}。",
    ),
    "calculator": Wording(
        ("What is {said}?", "Calculate {said}.", "How much is {said}?", "Please calculate {said}.", "{said} is how much?"),
        ("{said}是多少？", "计算{said}。", "{said}等于多少？", "请算一下{said}。"),
        ("Could you calculate {said}?", "Work out {said}."), ("你可以算出{said}吗？", "{said}得多少？"),
        "The answer is {v}.", "答案是{v}。",
    ),
    "lookup": Wording(
        ("What is the {fact} of {name}?", "Look up the {fact} of {name}.", "Tell me the {fact} of {name}.", "Please find the {fact} of {name}.", "Which {fact} has {name}?"),
        ("{name}的{fact}是什么？", "查一下{name}的{fact}。", "告诉我{name}的{fact}。", "请查{name}的{fact}。"),
        ("Could you look up the {fact} of {name}?", "I need the {fact} of {name}."), ("你可以查查{name}的{fact}吗？", "我要知道{name}的{fact}。"),
        "The {fact} of {name} is {v}.", "{name}的{fact}是{v}。",
    ),
    "table": Wording(
        ("Book a table for {people} people at {place}.", "Please book a table at {place} for {people} people.", "I want a table for {people} at {place}.", "We are {people} people and want a table at {place}."),
        ("在{place}订一张{people}人的餐桌。", "请帮我在{place}订{people}人桌。", "我们{people}个人想在{place}订餐桌。"),
        ("Could you book a table for {people} people at {place}?", "Get us a table at {place}, we are {people}."), ("你可以在{place}订{people}人的餐桌吗？", "去{place}吃饭，{people}个人，帮忙订餐桌。"),
        "I booked a table for {people} at {place}. The number is {v}.", "我在{place}订了{people}人的餐桌，号码是{v}。",
    ),
    "send": Wording(
        ("Send {person} a message: {text}.", "Send the message to {person}: {text}.", "Write a message to {person}: {text}.", "Please send {person} the text: {text}."),
        ("给{person}发消息：{text}。", "请给{person}发一条消息：{text}。", "发消息告诉{person}：{text}。"),
        ("Could you send {person} this message: {text}?", "A message to {person}, please: {text}."), ("你可以发消息给{person}吗：{text}？", "帮我发一条消息给{person}：{text}。"),
        "I sent the message to {person}.", "我给{person}发了消息。",
    ),
    "timer": Wording(
        ("Set a timer for {minutes} minutes.", "Start a timer of {minutes} minutes.", "Please set a timer: {minutes} minutes.", "I need a timer for {minutes} minutes."),
        ("设一个{minutes}分钟的定时器。", "请定时{minutes}分钟。", "定时器设{minutes}分钟。"),
        ("Could you set a timer for {minutes} minutes?", "A timer, {minutes} minutes, please."), ("你可以设{minutes}分钟的定时器吗？", "帮忙开一个定时器，{minutes}分钟。"),
        "I set a timer for {minutes} minutes.", "我设了{minutes}分钟的定时器。",
    ),
    "letters": Wording(
        ("How many letters are in {text}?", "Count the letters of {text}.", "How many letters has the word {text}?", "Please count the letters in {text}."),
        ("{text}有几个字？", "数一数{text}有几个字。", "请数{text}的字数。"),
        ("Could you count the letters in {text}?", "{text} has how many letters?"), ("你可以数数{text}有几个字吗？", "{text}的字数是多少？"),
        "{text} has {v} letters.", "{text}有{v}个字。",
    ),
    "repeat": Wording(
        ("Repeat {text} {count} times.", "Please repeat {text} {count} times.", "Write {text} {count} times.", "I want {text} repeated {count} times."),
        ("把{text}重复{count}次。", "请重复{text}{count}次。", "{text}重复{count}次是什么？"),
        ("Could you repeat {text} {count} times?", "{count} times {text}, please repeat it."), ("你可以把{text}重复{count}次吗？", "{text}要重复{count}次。"),
        "{v}", "{v}",
    ),
    "ticket": Wording(
        (), (),
        ("Buy {count} tickets for the film {film}.", "I want {count} tickets for {film}.", "Could you buy {count} tickets for the film {film}?"),
        ("买{count}张{film}的电影票。", "我要{count}张{film}的电影票。", "你可以买{count}张电影票吗？电影是{film}。"),
        "I bought {count} tickets for {film}. The number is {v}.", "我买了{count}张{film}的电影票，号码是{v}。",
    ),
    "taxi": Wording(
        (), (),
        ("What does a taxi cost from {start} to {goal}?", "How much is a taxi from {start} to {goal}?", "I want a taxi from {start} to {goal}. What is the cost?"),
        ("从{start}到{goal}坐出租车要多少钱？", "出租车从{start}到{goal}的费用是多少？", "坐出租车从{start}去{goal}，费用多少？"),
        "A taxi from {start} to {goal} costs {v}.", "从{start}到{goal}坐出租车要{v}。",
    ),
    "reverse": Wording(
        (), (),
        ("Reverse {text}.", "Could you reverse the text {text}?", "Please reverse the word {text}."), ("反转{text}。", "请把{text}反转。", "把文字{text}反转一下。"),
        "{v}", "{v}",
    ),
    "percent": Wording(
        (), (),
        ("What is {percent} percent of {value}?", "How much is {percent} percent of {value}?", "I need {percent} percent of {value}."),
        ("{value}的百分之{percent}是多少？", "请算{value}的百分之{percent}。"),
        "The answer is {v}.", "答案是{v}。",
    ),
    "alarm": Wording(
        (), (),
        ("Set an alarm at {time}.", "Please set an alarm: {time}.", "I need an alarm at {time}."), ("设一个{time}的闹钟。", "请把闹钟设在{time}。", "我需要{time}的闹钟。"),
        "I set an alarm at {time}.", "我设了{time}的闹钟。",
    ),
}  # fmt: skip
"""The wording of each tool that is no record tool, but for `python`, whose requests are those of its programs."""

PLANS: dict[str, Requests] = {
    "times": Requests(
        ("What is {np} times {k}?", "How much is {np} times {k}?", "Take {np} times {k}. What is it?"),
        ("{np}乘以{k}是多少？", "{np}的{k}倍是多少？", "把{np}乘以{k}。"),
        ("Could you tell me {np} times {k}?", "Multiply {np}, times {k}."), ("你可以算出{np}乘以{k}吗？", "{np}乘以{k}得多少？"),
    ),
    "plus": Requests(
        ("What is {np} plus {k}?", "How much is {np} plus {k}?", "Take {np} plus {k}. What is it?"),
        ("{np}加{k}是多少？", "{np}加上{k}是多少？", "把{np}加上{k}。"),
        ("Could you tell me {np} plus {k}?", "Add up {np} plus {k}."), ("你可以算出{np}加{k}吗？", "{np}加{k}得多少？"),
    ),
    "cost": Requests(
        ("How much do {k} {x} cost?", "What do {k} {x} cost together?", "What must I pay for {k} {x}?"),
        ("买{k}个{x}要多少钱？", "{k}个{x}一共多少钱？", "{k}个{x}要花多少元？"),
        ("Could you tell me what {k} {x} cost?", "I buy {k} {x}. How much is that?"), ("你可以告诉我{k}个{x}多少钱吗？", "我买{k}个{x}，该付多少钱？"),
    ),
    "both": Requests(
        ("What is {np} plus {other}?", "How much are {np} and {other} together?", "Take {np} plus {other}. What is it?"),
        ("{np}加{other}是多少？", "{np}和{other}一共是多少？", "把{np}加上{other}。"),
        ("Could you tell me {np} plus {other}?", "Add up {np} and {other}."), ("你可以算出{np}加{other}吗？", "{np}加{other}得多少？"),
    ),
    "all": Requests(
        ("What is {np} plus {other} plus {third}?", "How much are {np}, {other} and {third} together?"),
        ("{np}加{other}加{third}是多少？", "{np}、{other}和{third}一共是多少？"),
        ("Could you tell me {np} plus {other} plus {third}?", "Add up {np}, {other} and {third}."), ("你可以算出{np}加{other}加{third}吗？", "{np}、{other}、{third}加起来得多少？"),
    ),
    "converted": Requests(
        ("How far is it from {start} to {goal} in {to}?", "What is the distance from {start} to {goal} in {to}?", "How many {to} is it from {start} to {goal}?"),
        ("从{start}到{goal}有多少{to}？", "{start}到{goal}的距离是多少{to}？", "{start}离{goal}有几{to}？"),
        ("Could you tell me how many {to} it is from {start} to {goal}?", "I need the distance from {start} to {goal} in {to}."), ("你可以告诉我{start}到{goal}有多少{to}吗？", "我要{start}到{goal}的距离，用{to}表示。"),
    ),
}  # fmt: skip
"""How a sum, a product, a price of several things and a distance in another unit are asked for."""
