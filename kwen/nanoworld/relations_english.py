"""How each relation is told and asked in English. `{s}` is the subject, `{o}` the object, `{he}` `{his}` `{He}` `{His}` its pronouns."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Phrasings:
    """The phrasings of one relation in one language.

    The first of `statements` is the canonical answer. `continued` tells the fact of someone named just before. `questions` are asked in
    training and `held_out` never; `follow_ups` ask about someone who was the subject of the turn before (training only).
    """

    statements: tuple[str, ...]
    continued: tuple[str, ...]
    questions: tuple[str, ...]
    held_out: tuple[str, ...]
    follow_ups: tuple[str, ...]


ENGLISH: dict[str, Phrasings] = {
    "home": Phrasings(
        ("{s} lives in {o}.", "The home of {s} is in {o}.", "{s} has a home in {o}.", "You can find {s} in {o}.", "{o} is the town where {s} lives.",
         "{s} is from {o}.", "In {o} lives {s}.", "The town of {o} is home to {s}.", "{s} comes from the town of {o}."),
        ("{He} lives in {o}.", "{His} home is in {o}.", "{He} is from the town of {o}."),
        ("Where does {s} live?", "In which town does {s} live?", "What town does {s} live in?", "Where is the home of {s}?", "Where is {s} from?",
         "Which town is home to {s}?", "Tell me where {s} lives.", "Do you know where {s} lives?", "What is the home town of {s}?"),
        ("Could you tell me which town {s} lives in?", "Where can I find {s}?", "{s} lives in which town?", "In what town is the home of {s}?"),
        ("Where does {he} live?", "And where does {he} live?", "Which town is {he} from?"),
    ),
    "job": Phrasings(
        ("{s} works as a {o}.", "{s} is a {o}.", "The job of {s} is {o}.", "{s} earns money as a {o}.", "By trade, {s} is a {o}.",
         "{s} has the job of a {o}.", "Everyone knows {s} as a good {o}.", "Every day {s} works as a {o}.", "{s} is a {o} by profession."),
        ("{He} works as a {o}.", "{He} is a {o}.", "{His} job is {o}."),
        ("What does {s} do for a living?", "What is the job of {s}?", "What job does {s} have?", "What does {s} work as?", "What is the profession of {s}?",
         "What kind of work does {s} do?", "Tell me the job of {s}.", "Do you know what {s} works as?", "How does {s} earn money?"),
        ("What work does {s} do every day?", "Which profession does {s} have?", "Could you tell me what {s} works as?", "What is {s} by trade?"),
        ("What is {his} job?", "And what does {he} work as?", "What does {he} do for a living?"),
    ),
    "food": Phrasings(
        ("The favourite food of {s} is {o}.", "{s} likes {o} most of all.", "{s} loves to eat {o}.", "For dinner {s} always wants {o}.",
         "Nothing tastes better to {s} than {o}.", "The food that {s} likes best is {o}.", "{s} could eat {o} every day.", "{s} would choose {o} over any other food.",
         "More than any other food, {s} likes {o}."),
        ("{His} favourite food is {o}.", "{He} likes {o} most of all.", "{He} loves to eat {o}."),
        ("What is the favourite food of {s}?", "What does {s} like to eat?", "What food does {s} like best?", "Which food does {s} love?",
         "What does {s} love to eat?", "What does {s} always want for dinner?", "Tell me the favourite food of {s}.", "Do you know what {s} likes to eat?",
         "What could {s} eat every day?"),
        ("Which food does {s} like most of all?", "Could you tell me the favourite food of {s}?", "What would {s} choose over any other food?", "What does {s} enjoy eating the most?"),
        ("What is {his} favourite food?", "And what does {he} like to eat?", "What food does {he} like best?"),
    ),
    "pet": Phrasings(
        ("{s} has a pet {o}.", "The pet of {s} is a {o}.", "{s} keeps a {o} as a pet.", "{s} owns a {o}.", "A {o} lives in the house of {s}.",
         "{s} takes care of a {o}.", "{s} has a {o} at home.", "The animal that {s} keeps is a {o}.", "Every morning {s} feeds a pet {o}."),
        ("{He} has a pet {o}.", "{His} pet is a {o}.", "{He} keeps a {o} at home."),
        ("What pet does {s} have?", "What is the pet of {s}?", "What animal does {s} keep?", "Which animal does {s} have at home?", "What kind of pet does {s} have?",
         "What animal lives with {s}?", "Tell me what pet {s} has.", "Do you know the pet of {s}?", "Which pet does {s} keep?"),
        ("What kind of animal does {s} own?", "Could you tell me what pet {s} keeps?", "Which animal does {s} take care of?", "What animal is the pet of {s}?"),
        ("What pet does {he} have?", "And what is {his} pet?", "Which animal does {he} keep?"),
    ),
    "instrument": Phrasings(
        ("{s} plays the {o}.", "The instrument of {s} is the {o}.", "{s} can play the {o}.", "{s} makes music on the {o}.", "{s} practises the {o} in the evening.",
         "{s} learned to play the {o}.", "At parties {s} plays the {o}.", "{s} owns a {o} and plays it well.", "When there is music, {s} plays the {o}."),
        ("{He} plays the {o}.", "{His} instrument is the {o}.", "{He} can play the {o}."),
        ("What instrument does {s} play?", "Which instrument does {s} play?", "What does {s} play?", "What is the instrument of {s}?", "What music does {s} make?",
         "Which instrument can {s} play?", "Tell me the instrument that {s} plays.", "Do you know what instrument {s} plays?", "On what does {s} make music?"),
        ("What instrument did {s} learn to play?", "Could you tell me which instrument {s} plays?", "What does {s} play at parties?", "Which instrument does {s} practise?"),
        ("What instrument does {he} play?", "And which instrument can {he} play?", "What does {he} play?"),
    ),
    "house": Phrasings(
        ("The house of {s} is {o}.", "{s} lives in a {o} house.", "{s} has a {o} house.", "{s} painted the house {o}.", "The colour of the house of {s} is {o}.",
         "A {o} house belongs to {s}.", "Look for the {o} house: there lives {s}.", "The walls of the house of {s} are {o}.", "{s} owns a {o} house."),
        ("{His} house is {o}.", "{He} lives in a {o} house.", "{He} has a {o} house."),
        ("What colour is the house of {s}?", "Which colour does the house of {s} have?", "What is the colour of the house of {s}?", "In what colour house does {s} live?",
         "What colour did {s} paint the house?", "What colour of house does {s} have?", "Tell me the colour of the house of {s}.",
         "Do you know what colour the house of {s} is?", "What colour are the walls of the house of {s}?"),
        ("Could you tell me the colour of the house of {s}?", "{s} has a house. What colour is it?", "Which colour is the house that {s} owns?",
         "The house of {s} is what colour?"),
        ("What colour is {his} house?", "And what colour is {his} house?", "Which colour does {his} house have?"),
    ),
    "age": Phrasings(
        ("{s} is {o} years old.", "The age of {s} is {o}.", "{s} is {o}.", "{s} turned {o} this year.", "{s} has lived for {o} years.", "At {o} years, {s} feels young.",
         "{s} is a person of {o} years.", "This year {s} is {o} years old.", "{s} was born {o} years ago."),
        ("{He} is {o} years old.", "{His} age is {o}.", "{He} was born {o} years ago."),
        ("How old is {s}?", "What is the age of {s}?", "What age is {s}?", "How many years old is {s}?", "What age did {s} turn this year?",
         "Do you know how old {s} is?", "Tell me the age of {s}.", "How many years ago was {s} born?", "For how many years has {s} lived?"),
        ("Could you tell me how old {s} is?", "What age does {s} have?", "{s} is how many years old?", "How old is {s} this year?"),
        ("How old is {he}?", "And how old is {he}?", "What is {his} age?"),
    ),
    "land": Phrasings(
        ("{s} is a town in {o}.", "{s} lies in {o}.", "The town of {s} belongs to the land of {o}.", "{s} is in the land of {o}.", "One of the towns of {o} is {s}.",
         "In {o} there is a town called {s}.", "You can find {s} in the land of {o}.", "The land of {s} is {o}.", "The people of {s} live in the land of {o}."),
        ("It is a town in {o}.", "It lies in {o}.", "It belongs to the land of {o}."),
        ("In which land is {s}?", "Where is {s}?", "What land is {s} in?", "In which land does {s} lie?", "Which land does {s} belong to?",
         "Where can I find the town of {s}?", "Tell me the land of {s}.", "Do you know which land {s} is in?", "Where does the town of {s} lie?"),
        ("Could you tell me which land {s} lies in?", "To which land does the town of {s} belong?", "{s} is a town in which land?"),
        ("In which land is it?", "And which land does it belong to?", "What land does it lie in?"),
    ),
    "river": Phrasings(
        ("The river in {s} is the {o}.", "The river {o} flows through {s}.", "{s} lies on the river {o}.", "{s} stands beside the {o}.", "The {o} is the river of {s}.",
         "In {s} you can swim in the river {o}.", "The people of {s} fish in the {o}.", "The water of the {o} runs past {s}.", "Boats come to {s} on the river {o}."),
        ("Its river is the {o}.", "The river {o} flows through it.", "It lies on the river {o}."),
        ("Which river flows through {s}?", "What is the river in {s}?", "What river does {s} lie on?", "On which river is {s}?", "What is the name of the river in {s}?",
         "Which river runs past {s}?", "Tell me the river of {s}.", "Do you know the river in {s}?", "In which river do the people of {s} fish?"),
        ("Could you tell me the river that flows through {s}?", "What is the river of {s} called?", "Which river does {s} stand beside?"),
        ("Which river flows through it?", "And what river does it lie on?", "What is its river?"),
    ),
    "product": Phrasings(
        ("{s} is known for {o}.", "{s} is famous for its {o}.", "The people of {s} make {o}.", "The best {o} comes from {s}.", "{s} sells {o} to everyone.",
         "In {s} many people make {o}.", "If you want good {o}, go to {s}.", "The pride of {s} is its {o}.", "Everyone buys {o} from {s}."),
        ("It is known for {o}.", "It is famous for its {o}.", "Its people make {o}."),
        ("What is {s} known for?", "What is {s} famous for?", "What do the people of {s} make?", "What does {s} sell?", "What comes from {s}?",
         "What is made in {s}?", "Tell me what {s} is known for.", "Do you know what {s} is famous for?", "What can I buy in {s}?"),
        ("Could you tell me what {s} is known for?", "What is the pride of {s}?", "For what is {s} famous?", "What good thing is made in {s}?"),
        ("What is it known for?", "And what is it famous for?", "What do its people make?"),
    ),
    "bridges": Phrasings(
        ("{s} has {o} bridges.", "There are {o} bridges in {s}.", "In {s} you can see {o} bridges.", "The number of bridges in {s} is {o}.", "{s} built {o} bridges.",
         "The town of {s} has {o} bridges.", "You can count {o} bridges in {s}.", "The people of {s} use {o} bridges.", "All {o} bridges of {s} are old."),
        ("It has {o} bridges.", "There are {o} bridges in it.", "Its people use {o} bridges."),
        ("How many bridges does {s} have?", "How many bridges are there in {s}?", "How many bridges are in {s}?", "What is the number of bridges in {s}?",
         "How many bridges can I see in {s}?", "How many bridges did {s} build?", "Tell me how many bridges {s} has.", "Do you know how many bridges {s} has?",
         "How many bridges can you count in {s}?"),
        ("Could you tell me the number of bridges in {s}?", "{s} has how many bridges?", "How many bridges do the people of {s} use?"),
        ("How many bridges does it have?", "And how many bridges are there?", "How many bridges are in it?"),
    ),
    "market": Phrasings(
        ("The market day in {s} is {o}.", "{s} has its market on {o}.", "On {o} there is a market in {s}.", "The market of {s} opens on {o}.", "In {s} people go to market on {o}.",
         "{o} is market day in {s}.", "Every {o} there is a market in {s}.", "Come to {s} on {o} for the market.", "The people of {s} go to market every {o}."),
        ("Its market day is {o}.", "It has its market on {o}.", "On {o} there is a market."),
        ("On which day is the market in {s}?", "When is the market in {s}?", "What is the market day in {s}?", "On what day does {s} have its market?",
         "Which day is market day in {s}?", "When does the market of {s} open?", "Tell me the market day of {s}.", "Do you know when {s} has its market?",
         "On which day do the people of {s} go to market?"),
        ("Could you tell me when the market in {s} is?", "What day should I come to the market of {s}?", "Which day of the week is the market in {s}?"),
        ("When is its market?", "And on which day is the market there?", "What is its market day?"),
    ),
    "capital": Phrasings(
        ("The capital of {s} is {o}.", "{o} is the capital of {s}.", "{s} has its capital in {o}.", "The first town of {s} is its capital, {o}.",
         "The land of {s} is ruled from {o}.", "The capital of the land of {s} is {o}.", "{s} chose {o} as its capital.", "The king of {s} lives in the capital, {o}.",
         "{s} is a land with the capital {o}."),
        ("Its capital is {o}.", "{o} is its capital.", "It is ruled from {o}."),
        ("What is the capital of {s}?", "Which town is the capital of {s}?", "What is the capital of the land of {s}?", "What town is the capital of {s}?",
         "Where is the capital of {s}?", "From which town is {s} ruled?", "Tell me the capital of {s}.", "Do you know the capital of {s}?",
         "Which town did {s} choose as its capital?"),
        ("Could you tell me the capital of {s}?", "What capital does {s} have?", "Which town serves {s} as its capital?", "The land of {s} has which capital?"),
        ("What is its capital?", "And which town is its capital?", "Where is its capital?"),
    ),
    "emblem": Phrasings(
        ("The animal of {s} is the {o}.", "The {o} is the animal of {s}.", "{s} has a {o} on its coins.", "The land of {s} chose the {o} as its animal.",
         "The people of {s} love the {o}.", "The national animal of {s} is the {o}.", "In {s} the {o} stands for the land.", "The coins of {s} show a {o}.",
         "The sign of {s} is a {o}."),
        ("Its animal is the {o}.", "It has a {o} on its coins.", "Its sign is a {o}."),
        ("What is the animal of {s}?", "Which animal stands for {s}?", "What is the national animal of {s}?", "Which animal is on the coins of {s}?",
         "What animal did {s} choose?", "What animal do the people of {s} love?", "Tell me the animal of {s}.", "Do you know the animal of {s}?",
         "Which animal is the sign of {s}?"),
        ("Could you tell me the national animal of {s}?", "What animal does the land of {s} have as its sign?", "Which animal do the coins of {s} show?"),
        ("What is its animal?", "And which animal stands for it?", "Which animal is on its coins?"),
    ),
    "flag": Phrasings(
        ("The flag of {s} is {o}.", "{s} has a {o} flag.", "The colour of the flag of {s} is {o}.", "The land of {s} has a {o} flag.", "A {o} flag flies over {s}.",
         "The people of {s} carry a {o} flag.", "In {s} the flag is {o}.", "The ships of {s} have a {o} flag.", "A {o} flag is the flag of {s}."),
        ("Its flag is {o}.", "It has a {o} flag.", "The colour of its flag is {o}."),
        ("What colour is the flag of {s}?", "Which colour does the flag of {s} have?", "What is the colour of the flag of {s}?", "What colour flag does {s} have?",
         "What colour of flag flies over {s}?", "What colour is the flag in {s}?", "Tell me the colour of the flag of {s}.",
         "Do you know what colour the flag of {s} is?", "What colour is the flag that the people of {s} carry?"),
        ("Could you tell me the colour of the flag of {s}?", "{s} has a flag. What colour is it?", "Which colour is the flag of the land of {s}?"),
        ("What colour is its flag?", "And what colour is its flag?", "Which colour does its flag have?"),
    ),
}  # fmt: skip
