"""Everyday things in both languages, shared by word problems, stories and passages."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """A countable thing: English singular and plural, Chinese noun and measure word."""

    one: str
    many: str
    chinese: str
    measure: str


def _items(lines: str) -> tuple[Item, ...]:
    return tuple(Item(*line.split()) for line in lines.strip().splitlines())


# Each begins with a consonant sound, so that "a" is always its article.
ITEMS = _items("""
ball balls 球 个
basket baskets 篮子 个
bean beans 豆子 颗
bell bells 铃铛 个
book books 书 本
bottle bottles 瓶子 个
bowl bowls 碗 个
button buttons 扣子 颗
card cards 卡片 张
carrot carrots 胡萝卜 根
chair chairs 椅子 把
cherry cherries 樱桃 颗
coat coats 外套 件
cookie cookies 饼干 块
cup cups 杯子 个
doll dolls 娃娃 个
fish fish 鱼 条
flower flowers 花 朵
hat hats 帽子 顶
kite kites 风筝 只
lamp lamps 灯 盏
leaf leaves 叶子 片
lemon lemons 柠檬 个
letter letters 信 封
map maps 地图 张
marble marbles 弹珠 颗
nut nuts 坚果 颗
peach peaches 桃子 个
pear pears 梨 个
pen pens 钢笔 支
pencil pencils 铅笔 支
photo photos 照片 张
picture pictures 画 幅
plate plates 盘子 个
plum plums 李子 个
potato potatoes 土豆 个
ring rings 戒指 枚
rope ropes 绳子 根
rose roses 玫瑰 朵
shell shells 贝壳 个
shirt shirts 衬衫 件
spoon spoons 勺子 把
stamp stamps 邮票 张
star stars 星星 颗
sticker stickers 贴纸 张
stone stones 石头 块
toy toys 玩具 个
tree trees 树 棵
""")
