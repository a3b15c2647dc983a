"""Word problems of three steps in Chinese: steps and wordings.

In steps `a` to `d` are the problem's numbers, `p` and `q` the results of the first and second step, `r` the last result so far, a
digit itself. Placeholders in wordings are those of `maths_chinese`.
"""

THREE_STEPS: dict[str, tuple[str, ...]] = {
    "two_goods": ("a*b", "c*d", "p+q"), "goods_change": ("a*b", "r+c", "d-r"), "road_left": ("a*b", "r+c", "d-r"),
    "two_cars": ("a+b", "r*c", "r+d"), "plan_rest": ("a*b", "r-c", "r/d"), "boxes_sold": ("a*b", "r*c", "r-d"),
    "share_rest": ("a+b", "r-c", "r/d"), "times_as_many": ("a*b", "a+r", "r+c"), "read_more": ("a*b", "c*d", "p-q"),
    "laps": ("a+b", "r*2", "r*c"), "field": ("a*b", "r*c", "r-d"), "seats": ("a*b", "r-c", "r-d"), "average": ("a+b", "r+c", "r/3"),
    "at_this_price": ("a/b", "r*c", "r+d"), "workers": ("a/b", "r/c", "r*d"), "two_stops": ("a-b", "r+c", "r-d"),
}  # fmt: skip

THREE_STEPS_CHINESE: dict[str, tuple[str, ...]] = {
    "two_goods": ("{n}买{a}{u}{x}，每{u}{b}元，又买{c}个本子，每个{d}元。{n}一共付多少元？", "一{u}{x}卖{b}元，一个本子卖{d}元。{n}买{a}{u}{x}和{c}个本子，一共要多少元？"),
    "goods_change": ("{n}买{a}{u}{x}，每{u}{b}元，又买一个{c}元的袋子，付了{d}元。应找回多少元？", "一{u}{x}卖{b}元。{n}买{a}{u}{x}和一个{c}元的袋子，带了{d}元，还剩多少元？"),
    "road_left": ("甲乙两地相距{d}千米。汽车每小时行{a}千米，行了{b}小时，又行了{c}千米。还剩多少千米？", "{n}骑车每天行{a}千米，行了{b}天，又走了{c}千米。全程{d}千米，还剩多少千米？"),
    "two_cars": ("两辆车同时从两地相对开出，一辆每小时行{a}千米，另一辆每小时行{b}千米，{c}小时后还相距{d}千米。两地相距多少千米？", "{n}每分钟走{a}米，{m}每分钟走{b}米，两人从两头相向走了{c}分钟，还相距{d}米。这条路长多少米？"),
    "plan_rest": ("工厂原计划每天做{a}{u}{x}，做{b}天。已经做了{c}{u}，剩下的要{d}天做完，平均每天做多少{u}？", "{n}要做{b}箱{x}，每箱{a}{u}，已经做了{c}{u}，剩下的{d}天做完。平均每天做多少{u}？"),
    "boxes_sold": ("一箱有{a}盒{x}，每盒{b}{u}。商店有{c}箱，卖掉{d}{u}，还剩多少{u}？", "每盒装{b}{u}{x}，每箱装{a}盒。{n}运来{c}箱，用掉{d}{u}，还剩多少{u}？"),
    "share_rest": ("{n}有{a}{u}{x}，又得到{b}{u}，用掉{c}{u}，剩下的平均分给{d}个朋友。每个朋友得到多少{u}？", "两个班分别有{a}{u}和{b}{u}{x}，合在一起用掉{c}{u}，剩下的平均放进{d}个盒子。每个盒子放多少{u}？"),
    "times_as_many": ("{n}有{a}{u}{x}，{m}的{x}是{n}的{b}倍，商店有{c}{u}。一共有多少{u}{x}？", "第一天卖出{a}{u}{x}，第二天卖出的是第一天的{b}倍，第三天卖出{c}{u}。三天一共卖出多少{u}？"),
    "read_more": ("{n}读了{a}天书，每天{b}页；{m}读了{c}天，每天{d}页。{n}比{m}多读多少页？", "红盒子有{a}排{x}，每排{b}{u}；蓝盒子有{c}排，每排{d}{u}。红盒子比蓝盒子多多少{u}？"),
    "laps": ("一块长方形的地长{a}米，宽{b}米。{n}绕它走{c}圈，一共走多少米？", "操场是长方形，长{a}米，宽{b}米。{n}每天绕操场跑{c}圈，每天跑多少米？"),
    "field": ("一块长方形的地长{a}米，宽{b}米，每平方米收{c}千克土豆，卖掉{d}千克，还剩多少千克？", "{n}的菜地长{a}米，宽{b}米，每平方米收菜{c}千克，送出{d}千克。还剩多少千克？"),
    "seats": ("礼堂有{a}排座位，每排{b}个，已经坐了{c}人，又来了{d}人。还空多少个座位？", "影院有{a}排座位，每排{b}个。上午卖出{c}张票，下午卖出{d}张，还有多少张没有卖？"),
    "average": ("商店第一天卖出{a}{u}{x}，第二天{b}{u}，第三天{c}{u}。平均每天卖出多少{u}？", "{n}、{m}和一个朋友分别有{a}、{b}、{c}{u}{x}。平均每人有多少{u}？"),
    "at_this_price": ("{b}{u}{x}要{a}元。照这样，买{c}{u}{x}和一个{d}元的盒子要多少元？", "{n}用{a}元买了{b}{u}{x}。同样的{x}买{c}{u}，再加{d}元运费，一共多少元？"),
    "workers": ("{b}个工人{c}天做了{a}{u}{x}。照这样，一个工人{d}天做多少{u}？", "{b}台机器{c}小时做{a}{u}{x}。照这样，一台机器{d}小时做多少{u}？"),
    "two_stops": ("车上有{a}人，第一站下去{b}人，上来{c}人，第二站又下去{d}人。现在车上有多少人？", "仓库有{a}{u}{x}，运走{b}{u}，运来{c}{u}，又运走{d}{u}。现在有多少{u}？"),
}  # fmt: skip
