"""The record tools: each knows one thing about anything by its name, as a register does.

The thing that a record tool tells of a name is a hash of both, so that names without limit have an answer; of the world's own
people it tells what the world's facts say.
"""

from dataclasses import dataclass

from kwen.nanoworld.names import Language


@dataclass(frozen=True, slots=True)
class Record:
    """One record tool.

    values: "number LOW HIGH", then its unit in both languages; "word", then the words in both; "person", "town" or "date".
    english, chinese: the noun phrase of the thing, `{x}` the name; also how an answer speaks of it. asked_*: two direct
    questions, the second only for held-out tasks where the tool itself is a training tool.
    """

    name: str
    parameter: str
    description: str
    description_chinese: str
    values: str
    english: str
    chinese: str
    asked_english: tuple[str, str]
    asked_chinese: tuple[str, str]

    def phrase(self, language: Language) -> str:
        """The noun phrase in that language."""
        return self.english if language == "en" else self.chinese


def _records(lines: str) -> tuple[Record, ...]:
    made = []
    for line in lines.strip().splitlines():
        name, parameter, english, chinese, values, phrase, phrase_chinese, asked, asked_chinese = line.split(" | ")
        first, second = asked.split("; ")
        first_chinese, second_chinese = asked_chinese.split("；")
        questions = (first, second), (first_chinese, second_chinese)
        made.append(Record(name, parameter, english, chinese, values, phrase, phrase_chinese, *questions))
    return tuple(made)


TRAINING_RECORDS = _records("""
price | item | price of an item | 商品的价格 | number 2 40 coins 元 | the price of {x} | {x}的价格 | How much does {x} cost?; What must I pay for {x}? | {x}多少钱？；买{x}要花多少钱？
stock | item | stock of an item | 商品的库存 | number 3 90 pieces 件 | the stock of {x} | {x}的库存 | How many {x} are in stock?; How much stock of {x} is left? | {x}还有多少库存？；库存里有多少{x}？
weather | town | weather in a town | 城市的天气 | word sunny/晴天 rainy/雨天 windy/刮风 cloudy/多云 snowy/下雪 foggy/有雾 | the weather in {x} | {x}的天气 | How is the weather in {x}?; What weather does {x} have now? | {x}天气怎么样？；{x}现在是什么天气？
temperature | town | temperature in a town | 城市的温度 | number 2 35 degrees 度 | the temperature in {x} | {x}的温度 | How high is the temperature in {x}?; What temperature does {x} have? | {x}的温度有多高？；{x}现在温度多少？
population | town | population of a town | 城市的人口 | number 210 980 people 人 | the population of {x} | {x}的人口 | How large is the population of {x}?; What population does {x} have? | {x}有多少人口？；{x}的人口数是多少？
mayor | town | mayor of a town | 城市的市长 | person | the mayor of {x} | {x}的市长 | Who is the mayor of {x}?; Who is mayor in {x}? | {x}的市长是谁？；谁是{x}的市长？
age | person | age of a person | 人的年龄 | number 20 59 years 岁 | the age of {x} | {x}的年龄 | How old is {x}?; What age is {x}? | {x}几岁？；{x}今年多大年龄？
home | person | home town of a person | 人的家乡 | town | the home of {x} | {x}的家乡 | Where is the home of {x}?; In what town is the home of {x}? | {x}的家乡在哪里？；{x}的家乡是哪座城市？
birthday | person | birthday of a person | 人的生日 | date | the birthday of {x} | {x}的生日 | When is the birthday of {x}?; On what date is the birthday of {x}? | {x}的生日是哪天？；{x}什么时候过生日？
room | person | room number of a person | 人的房间号 | number 101 899 - - | the room number of {x} | {x}的房间号 | In which room is {x}?; What room does {x} have? | {x}在哪个房间？；{x}的房间是几号？
salary | person | salary of a person | 人的工资 | number 110 950 coins 元 | the salary of {x} | {x}的工资 | How high is the salary of {x}?; What salary does {x} get? | {x}的工资有多高？；{x}拿多少工资？
owner | house | owner of a house | 房子的主人 | person | the owner of {x} | {x}的主人 | Who is the owner of {x}?; Who owns the house {x}? | {x}的主人是谁？；谁是房子{x}的主人？
rent | house | rent of a house | 房子的租金 | number 20 95 coins 元 | the rent of {x} | {x}的租金 | How high is the rent of {x}?; What rent do I pay for {x}? | {x}的租金有多高？；租{x}要多少租金？
weight | animal | weight of an animal | 动物的体重 | number 2 90 kg 公斤 | the weight of {x} | {x}的体重 | How much does {x} weigh?; How heavy is {x}? | {x}有多重？；{x}重多少公斤？
length | river | length of a river | 河的长度 | number 12 98 km 公里 | the length of {x} | {x}的长度 | How long is the river {x}?; Over what length does {x} flow? | 河{x}有多长？；{x}的长度有几公里？
pages | book | page count of a book | 书的页数 | number 30 320 pages 页 | the page count of {x} | {x}的页数 | How many pages has the book {x}?; How many pages are in {x}? | 书{x}有多少页？；{x}一共几页？
colour | flower | colour of a flower | 花的颜色 | word red/红色 blue/蓝色 green/绿色 yellow/黄色 white/白色 pink/粉色 | the colour of {x} | {x}的颜色 | Which colour has the flower {x}?; What colour is {x}? | 花{x}是什么颜色？；{x}有哪种颜色？
taste | fruit | taste of a fruit | 水果的味道 | word sweet/甜 sour/酸 bitter/苦 salty/咸 hot/辣 | the taste of {x} | {x}的味道 | How does {x} taste?; What taste has the fruit {x}? | {x}是什么味道？；水果{x}味道如何？
speed | train | speed of a train | 火车的速度 | number 40 160 km 公里 | the speed of {x} | {x}的速度 | How fast is the train {x}?; What speed does {x} reach? | 火车{x}有多快？；{x}的速度是多少？
teacher | class | teacher of a class | 班级的老师 | person | the teacher of {x} | {x}的老师 | Who is the teacher of {x}?; Which teacher has the class {x}? | {x}的老师是谁？；哪位老师教班级{x}？
king | land | king of a land | 国家的国王 | person | the king of {x} | {x}的国王 | Who is the king of {x}?; Who is king in {x}? | {x}的国王是谁？；谁是{x}的国王？
score | team | score of a team | 球队的得分 | number 11 99 points 分 | the score of {x} | {x}的得分 | How many points has the team {x}?; What did {x} score? | 球队{x}得了多少分？；{x}拿了几分？
floor | office | floor of an office | 办公室的楼层 | number 2 40 - - | the floor of {x} | {x}的楼层 | On which floor is {x}?; What floor is the office {x} on? | {x}在几楼？；办公室{x}在哪一层？
material | bowl | material of a bowl | 碗的材料 | word wood/木头 glass/玻璃 stone/石头 silver/银 clay/陶土 | the material of {x} | {x}的材料 | What is {x} made of?; Which material is the bowl {x}? | {x}是用什么做的？；碗{x}是什么材料？
""")  # fmt: skip

HELD_OUT_RECORDS = _records("""
height | tower | height of a tower | 塔的高度 | number 12 95 m 米 | the height of {x} | {x}的高度 | How high is the tower {x}?; What height has {x}? | 塔{x}有多高？；{x}的高度是多少米？
depth | lake | depth of a lake | 湖的深度 | number 5 80 m 米 | the depth of {x} | {x}的深度 | How deep is the lake {x}?; What depth has {x}? | 湖{x}有多深？；{x}的深度是多少米？
author | book | author of a book | 书的作者 | person | the author of {x} | {x}的作者 | Who is the author of {x}?; Who wrote the book {x}? | {x}的作者是谁？；谁写了书{x}？
phone | person | phone number of a person | 人的电话号码 | number 1001 9899 - - | the phone number of {x} | {x}的电话号码 | How can I phone {x}?; Which phone number has {x}? | 怎么打电话给{x}？；{x}的电话是多少？
seats | hall | seat count of a hall | 大厅的座位数 | number 40 450 seats 个 | the seat count of {x} | {x}的座位数 | How many seats has the hall {x}?; How many seats are in {x}? | 大厅{x}有多少座位？；{x}有几个座位？
captain | ship | captain of a ship | 船的船长 | person | the captain of {x} | {x}的船长 | Who is the captain of {x}?; Which captain has the ship {x}? | {x}的船长是谁？；谁是船{x}的船长？
fee | museum | entrance fee of a museum | 博物馆的门票 | number 2 30 coins 元 | the entrance fee of {x} | {x}的门票 | How high is the fee of the museum {x}?; What fee does {x} ask? | {x}的门票多少钱？；去博物馆{x}门票要多少？
shape | stone | shape of a stone | 石头的形状 | word round/圆形 square/方形 flat/扁平 long/长条 oval/椭圆 | the shape of {x} | {x}的形状 | Which shape has the stone {x}?; What shape is {x}? | 石头{x}是什么形状？；{x}有哪种形状？
smell | plant | smell of a plant | 植物的气味 | word fresh/清新 strong/浓烈 bad/难闻 soft/淡淡 spicy/辛香 | the smell of {x} | {x}的气味 | How does the plant {x} smell?; What smell has {x}? | 植物{x}是什么气味？；{x}的气味如何？
gate | flight | gate of a flight | 航班的登机口 | number 2 60 - - | the gate of {x} | {x}的登机口 | At which gate is {x}?; What gate has the flight {x}? | {x}在哪个登机口？；航班{x}的登机口是几号？
width | bridge | width of a bridge | 桥的宽度 | number 3 30 m 米 | the width of {x} | {x}的宽度 | How wide is the bridge {x}?; What width has {x}? | 桥{x}有多宽？；{x}的宽度是多少米？
""")  # fmt: skip

RECORDS = {record.name: record for record in TRAINING_RECORDS + HELD_OUT_RECORDS}
"""Every record tool by its name."""
