"""Stories in English: each frame is a row of beats, each beat a choice of sentences that fit all choices around it.

`{n}` is the main character, `{m}` a friend, `{he}` `{his}` `{him}` `{He}` `{His}` pronouns of the first, `{place}` a named place,
`{thing}` `{colour}` `{animal}` `{food}` common words.
"""

FRAMES: tuple[tuple[tuple[str, ...], ...], ...] = (
    (   # lost and found
        ("One morning {n} could not find {his} {colour} {thing}.", "{n} had a {colour} {thing}, and one day it was gone.", "Once {n} lost a {colour} {thing} in {place}."),
        ("{He} looked under the bed and behind the door.", "{He} looked in the garden and on the road.", "{He} asked everyone in the street."),
        ("Then {m} came by with a smile.", "Then {his} friend {m} knocked on the door.", "In the evening {m} called {him}."),
        ('"Is this your {thing}?" asked {m}.', "{m} had found the {thing} beside the well.", "A {animal} had carried the {thing} to {m}."),
        ("{n} laughed and thanked {m}.", "{n} was so happy that {he} gave {m} some {food}.", "From that day on {n} took good care of the {thing}."),
    ),
    (   # the hungry animal
        ("A small {animal} sat in front of the house of {n}.", "On the way to {place}, {n} met a thin {animal}.", "It was raining, and {n} heard a {animal} cry."),
        ("It was cold and hungry.", "It looked at {him} with big eyes.", "Nobody knew where it came from."),
        ("{n} gave it some {food}.", "{He} put it in a warm {colour} blanket.", "{He} took it home and dried it."),
        ("After a week the {animal} was strong again.", "Soon the {animal} followed {him} everywhere.", "{m} came to see the {animal} every day."),
        ("Now they are good friends.", "{n} never felt alone again.", "{n} called it Lucky."),
    ),
    (   # cooking
        ("{n} wanted to make {food} for {m}.", "It was the birthday of {m}, so {n} made {food}.", "{n} invited {m} to eat {food}."),
        ("But there was no salt in the kitchen.", "But the fire would not burn.", "But the pot had a hole."),
        ("{He} ran to the market of {place}.", "{He} asked an old neighbour for help.", "{He} sat down and thought for a while."),
        ("An hour later the {food} smelled wonderful.", "At last everything was ready.", "In the end the table looked beautiful."),
        ("{m} ate three plates of it.", '"This is the best {food} I know," said {m}.', "They ate and laughed until late at night."),
    ),
    (   # the journey
        ("{n} had never seen {place}.", "{n} wanted to travel to {place}.", "People told {n} that {place} was far away."),
        ("So {he} packed a {colour} {thing} and some {food}.", "So {he} left home before the sun came up.", "So {he} bought a map and strong shoes."),
        ("On the first day it snowed.", "On the road {he} met {m}, who knew the way.", "In the forest a {animal} crossed the path."),
        ("They walked together for three days.", "{He} slept under the trees and counted the stars.", "The hills were high and the rivers wide."),
        ("When {he} saw {place}, {he} sang with joy.", "At last the towers of {place} stood in the sun.", "{place} was even more beautiful than {he} had thought."),
    ),
    (   # the storm
        ("A storm came to {place}.", "One night the wind blew hard over {place}.", "Dark clouds stood over {place}."),
        ("The roof of {n} flew away.", "The house of {n} was full of water.", "A big tree fell on the fence of {n}."),
        ("{m} came with a lamp and a rope.", "The neighbours came at once.", "{m} opened the door for {him}."),
        ("They worked until the morning.", "Everyone carried wood and stones.", "Even the children helped."),
        ("The next day the sun was back, and {n} thanked them all.", "{n} will never forget that night.", "{n} painted the new door {colour}."),
    ),
    (   # the garden
        ("{n} planted a seed behind the house.", "In spring {n} dug a small garden in {place}.", "{n} got a strange seed from {m}."),
        ("Every day {he} gave it water.", "{He} waited for many weeks.", "{m} said that nothing would grow there."),
        ("A {animal} wanted to eat the first leaf.", "Then it did not rain for a month.", "One day the wind broke the fence."),
        ("But {n} did not give up.", "{n} built a wall of stones around it.", "{n} carried water from the river."),
        ("In summer a {colour} flower opened.", "In autumn there was food for everyone.", "{m} was surprised and wanted a seed too."),
    ),
    (   # the race
        ("Every year there is a race in {place}.", "The people of {place} held a great race.", "{n} and {m} wanted to know who was faster."),
        ("{n} ran fast, but {m} was faster.", "{m} was first for a long time.", "{n} fell at the first stone."),
        ("Then {m} hurt a foot.", "Near the end {m} stopped, tired.", "At the bridge {m} lost a shoe."),
        ("{n} did not run past but helped.", "{n} gave {m} a hand.", "{n} stopped and waited for {m}."),
        ("They crossed the line together.", "Both of them won a {colour} {thing}.", "The people clapped for a long time."),
    ),
    (   # the gift
        ("{n} wanted to give {m} a gift.", "{m} was ill, and {n} wanted to bring something nice.", "{n} had only two coins, but {m} had a birthday."),
        ("In the shop there was a {colour} {thing}.", "{n} saw a beautiful {thing} at the market.", "{He} thought of a {thing}."),
        ("It cost too much.", "Somebody else bought it first.", "The seller would not sell it."),
        ("So {n} made one with {his} own hands.", "So {n} worked all night to make one.", "So {n} asked a carpenter to show {him} how to make one."),
        ("It was not perfect, but {m} loved it.", "{m} still keeps it on the table.", '"Nobody ever gave me such a {thing}," said {m}.'),
    ),
    (   # the quarrel
        ("{n} and {m} were neighbours in {place}.", "{n} and {m} shared a garden.", "{n} and {m} had been friends for years."),
        ("One day they quarrelled about a {thing}.", "Then the {animal} of {m} ate the {food} of {n}.", "Then {m} forgot the birthday of {n}."),
        ("For a week they did not speak.", "{n} closed the door and {m} closed the window.", "Each of them was angry and sad."),
        ("At last {n} wrote a letter.", "Then {m} came with a plate of {food}.", "Then they met at the well by chance."),
        ('"I am sorry," said both at once.', "They laughed and shook hands.", "They agreed never to quarrel again."),
    ),
    (   # the secret
        ("{n} found an old {thing} in the attic.", "There was a {colour} {thing} on the wall in the house of {n}.", "An old woman in {place} gave {n} a {thing}."),
        ("Inside it was a small map.", "On the back there were strange words.", "It was heavy and full of dust."),
        ("{n} showed it to {m}.", "{m} could read the old letters.", "{He} could not sleep all night."),
        ("The map led them to a cave.", "They followed the river to its source.", "They dug behind the old mill."),
        ("There they found no gold, but a letter from long ago.", "There sat a {animal} and looked at them.", "They never told anyone what they found."),
    ),
)  # fmt: skip
