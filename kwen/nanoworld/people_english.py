"""How the relations of people are told and asked in English; the placeholders are those of `phrasings`."""

from kwen.nanoworld.phrasings import Phrasings

PEOPLE: dict[str, Phrasings] = {
    "home": Phrasings(
        statements=(
            "{s} lives in {o}.", "The home of {s} is in {o}.", "{s} has a home in {o}.", "You can find {s} in {o}.",
            "{o} is the town where {s} lives.", "{s} is from {o}.", "In {o} lives {s}.", "The town of {o} is home to {s}.",
            "{s} comes from the town of {o}.", "The home town of {s} is {o}.", "The town {s} comes from is {o}.",
            "{s} stays in the town of {o}.",
        ),
        continued=("{He} lives in {o}.", "{His} home is in {o}.", "{He} is from the town of {o}."),
        questions=(
            "Where does {s} live?", "In which town does {s} live?", "What town does {s} live in?", "Which town does {s} live in?",
            "Where is the home of {s}?", "Where is {s} from?", "Where does {s} come from?", "Which town is home to {s}?",
            "Where is {s} at home?", "Where can you find {s}?", "Where does {s} stay?", "Where does {s} have a home?",
            "In what town can I find {s}?", "Which place does {s} come from?", "{s} lives where?", "{s} comes from which town?",
            "{s} is from where?",
        ),
        noun_phrases=(
            "the home town of {s}", "the town where {s} lives", "the place {s} comes from", "the town that {s} is from",
            "the home of {s}", "the place where I can find {s}",
        ),
        clauses=(
            "where {s} lives", "which town {s} lives in", "where {s} is from", "where {s} comes from", "where the home of {s} is",
            "where to find {s}", "what town {s} lives in",
        ),
        held_out=(
            "Could you tell me which town {s} lives in?", "Where can I find {s}?", "{s} lives in which town?",
            "In what town is the home of {s}?",
        ),
        follow_ups=("Where does {he} live?", "And where does {he} live?", "Which town is {he} from?"),
    ),
    "job": Phrasings(
        statements=(
            "{s} works as a {o}.", "{s} is a {o}.", "The job of {s} is {o}.", "{s} earns money as a {o}.",
            "By trade, {s} is a {o}.", "{s} has the job of a {o}.", "Everyone knows {s} as a good {o}.",
            "Every day {s} works as a {o}.", "{s} is a {o} by profession.", "The profession of {s} is {o}.",
            "{s} makes a living as a {o}.", "The work of {s} is that of a {o}.",
        ),
        continued=("{He} works as a {o}.", "{He} is a {o}.", "{His} job is {o}."),
        questions=(
            "What does {s} do for a living?", "What job does {s} have?", "Which job does {s} have?", "What does {s} work as?",
            "As what does {s} work?", "What kind of work does {s} do?", "What kind of job does {s} have?",
            "How does {s} earn money?", "How does {s} make a living?", "Which trade does {s} have?", "What is {s} by profession?",
            "What does {s} do as a job?", "What does {s} do every day for money?", "Which work does {s} do?",
            "{s} works as what?", "{s} does what for a living?", "{s} has which job?",
        ),
        noun_phrases=(
            "the job of {s}", "the profession of {s}", "the trade of {s}", "the work that {s} does", "the job that {s} has",
            "the work of {s}",
        ),
        clauses=(
            "what {s} does for a living", "what job {s} has", "what {s} works as", "which profession {s} has",
            "how {s} earns money", "what work {s} does", "what the job of {s} is",
        ),
        held_out=(
            "Could you tell me what {s} works as?", "What work does {s} do every day?", "Which profession does {s} have?",
            "What is {s} by trade?",
        ),
        follow_ups=("What is {his} job?", "And what does {he} work as?", "What does {he} do for a living?"),
    ),
    "food": Phrasings(
        statements=(
            "The favourite food of {s} is {o}.", "{s} likes {o} most of all.", "{s} loves to eat {o}.",
            "For dinner {s} always wants {o}.", "Nothing tastes better to {s} than {o}.", "The food that {s} likes best is {o}.",
            "{s} could eat {o} every day.", "{s} would choose {o} over any other food.",
            "More than any other food, {s} likes {o}.", "{s} enjoys {o} the most.", "The favourite dish of {s} is {o}.",
            "What {s} likes to eat is {o}.",
        ),
        continued=("{His} favourite food is {o}.", "{He} likes {o} most of all.", "{He} loves to eat {o}."),
        questions=(
            "What does {s} like to eat?", "What food does {s} like best?", "Which food does {s} love?",
            "What does {s} love to eat?", "What does {s} want to eat?", "What does {s} always want for dinner?",
            "What could {s} eat every day?", "What does {s} like to eat most of all?", "What food is the favourite of {s}?",
            "Which food does {s} enjoy?", "Which dish does {s} like?", "What tastes best to {s}?",
            "What would {s} choose to eat?", "What food would {s} choose?", "Which food does {s} like more than any other?",
            "{s} likes to eat what?", "{s} loves which food?", "{s} likes what food best?",
        ),
        noun_phrases=(
            "the favourite food of {s}", "the food {s} likes best", "the food that {s} loves", "the favourite dish of {s}",
            "the food {s} wants for dinner", "the food that {s} likes most of all",
        ),
        clauses=(
            "what {s} likes to eat", "what food {s} likes best", "which food {s} loves", "what {s} loves to eat",
            "what {s} wants for dinner", "what the favourite food of {s} is", "which food {s} enjoys most",
        ),
        held_out=(
            "Could you tell me the favourite food of {s}?", "Which food does {s} like most of all?",
            "What would {s} choose over any other food?", "What does {s} enjoy eating the most?",
        ),
        follow_ups=("What is {his} favourite food?", "And what does {he} like to eat?", "What food does {he} like best?"),
    ),
    "pet": Phrasings(
        statements=(
            "{s} has a pet {o}.", "The pet of {s} is a {o}.", "{s} keeps a {o} as a pet.", "{s} owns a {o}.",
            "A {o} lives in the house of {s}.", "{s} takes care of a {o}.", "{s} has a {o} at home.",
            "The animal that {s} keeps is a {o}.", "Every morning {s} feeds a pet {o}.",
            "The animal that belongs to {s} is a {o}.", "{s} cares for a {o}.", "The animal at the home of {s} is a {o}.",
        ),
        continued=("{He} has a pet {o}.", "{His} pet is a {o}.", "{He} keeps a {o} at home."),
        questions=(
            "What pet does {s} have?", "What animal does {s} keep?", "Which animal does {s} have at home?",
            "What kind of pet does {s} have?", "What kind of animal does {s} keep?", "What animal lives with {s}?",
            "Which animal lives in the house of {s}?", "Which pet does {s} keep?", "Which pet does {s} own?",
            "What pet does {s} take care of?", "What animal does {s} feed every morning?", "What pet does {s} feed?",
            "What does {s} keep as a pet?", "What does {s} have as a pet?", "Which animal belongs to {s}?", "{s} has what pet?",
            "{s} keeps which animal?", "{s} owns what animal?",
        ),
        noun_phrases=(
            "the pet of {s}", "the animal that {s} keeps", "the pet that {s} has", "the animal at the home of {s}",
            "the animal {s} takes care of", "the pet {s} owns", "the animal that {s} feeds",
        ),
        clauses=(
            "what pet {s} has", "which animal {s} keeps", "what animal lives with {s}", "what kind of pet {s} has",
            "which pet {s} owns", "what animal {s} takes care of", "what the pet of {s} is",
        ),
        held_out=(
            "Could you tell me what pet {s} keeps?", "What kind of animal does {s} own?", "Which animal does {s} take care of?",
            "What animal is the pet of {s}?",
        ),
        follow_ups=("What pet does {he} have?", "And what is {his} pet?", "Which animal does {he} keep?"),
    ),
    "instrument": Phrasings(
        statements=(
            "{s} plays the {o}.", "The instrument of {s} is the {o}.", "{s} can play the {o}.", "{s} makes music on the {o}.",
            "{s} practises the {o} in the evening.", "{s} learned to play the {o}.", "At parties {s} plays the {o}.",
            "{s} owns a {o} and plays it well.", "When there is music, {s} plays the {o}.",
            "The instrument that {s} plays is the {o}.", "{s} learned the {o}.", "The {o} is played by {s}.",
        ),
        continued=("{He} plays the {o}.", "{His} instrument is the {o}.", "{He} can play the {o}."),
        questions=(
            "What instrument does {s} play?", "Which instrument does {s} play?", "Which instrument can {s} play?",
            "What instrument can {s} play?", "What can {s} play?", "What does {s} play in the evening?",
            "On what does {s} make music?", "On which instrument does {s} make music?",
            "What instrument does {s} practise every evening?", "What does {s} practise?", "Which instrument did {s} learn?",
            "What did {s} learn to play?", "What instrument does {s} own?", "Which instrument is played by {s}?",
            "{s} plays what?", "{s} plays which instrument?", "{s} practises which instrument?", "{s} makes music on what?",
        ),
        noun_phrases=(
            "the instrument of {s}", "the instrument that {s} plays", "the instrument {s} can play",
            "the instrument {s} practises", "the instrument that {s} learned", "the instrument {s} plays at parties",
        ),
        clauses=(
            "what instrument {s} plays", "which instrument {s} can play", "what {s} plays", "which instrument {s} practises",
            "what instrument {s} learned to play", "what the instrument of {s} is", "on what {s} makes music",
        ),
        held_out=(
            "Could you tell me which instrument {s} plays?", "What instrument did {s} learn to play?",
            "What does {s} play at parties?", "Which instrument does {s} practise?",
        ),
        follow_ups=("What instrument does {he} play?", "And which instrument can {he} play?", "What does {he} play?"),
    ),
    "house": Phrasings(
        statements=(
            "The house of {s} is {o}.", "{s} lives in a {o} house.", "{s} has a {o} house.", "{s} painted the house {o}.",
            "The colour of the house of {s} is {o}.", "A {o} house belongs to {s}.", "Look for the {o} house: there lives {s}.",
            "The walls of the house of {s} are {o}.", "{s} owns a {o} house.", "The house where {s} lives is {o}.",
            "The house that {s} owns is {o}.", "{s} has a house, and its colour is {o}.",
        ),
        continued=("{His} house is {o}.", "{He} lives in a {o} house.", "{He} has a {o} house."),
        questions=(
            "What colour is the house of {s}?", "Which colour is the house of {s}?", "Which colour does the house of {s} have?",
            "What colour does the house of {s} have?", "In what colour house does {s} live?",
            "What colour did {s} paint the house?", "What colour of house does {s} have?",
            "What colour are the walls of the house of {s}?", "What colour house does {s} own?",
            "What colour is the house that belongs to {s}?", "What colour is the house where {s} lives?",
            "In which colour is the house of {s} painted?", "{s} lives in a house of what colour?",
            "{s} has a house of which colour?", "{s} painted the house what colour?", "The house of {s} has what colour?",
            "The walls of the house of {s} are what colour?",
        ),
        noun_phrases=(
            "the colour of the house of {s}", "the house colour of {s}", "the colour of the house {s} lives in",
            "the colour {s} painted the house", "the colour of the walls of the house of {s}",
            "the colour of the house that belongs to {s}",
        ),
        clauses=(
            "what colour the house of {s} is", "which colour the house of {s} has", "what colour {s} painted the house",
            "in what colour house {s} lives", "what colour of house {s} has", "what colour the walls of the house of {s} are",
        ),
        held_out=(
            "Could you tell me the colour of the house of {s}?", "{s} has a house. What colour is it?",
            "Which colour is the house that {s} owns?", "The house of {s} is what colour?",
        ),
        follow_ups=("What colour is {his} house?", "And what colour is {his} house?", "Which colour does {his} house have?"),
    ),
    "age": Phrasings(
        statements=(
            "{s} is {o} years old.", "The age of {s} is {o}.", "{s} is {o}.", "{s} turned {o} this year.",
            "{s} has lived for {o} years.", "At {o} years, {s} feels young.", "{s} is a person of {o} years.",
            "This year {s} is {o} years old.", "{s} was born {o} years ago.", "{s} is now {o} years old.",
            "{s} has the age of {o}.", "The number of years {s} has lived is {o}.",
        ),
        continued=("{He} is {o} years old.", "{His} age is {o}.", "{He} was born {o} years ago."),
        questions=(
            "How old is {s}?", "What age is {s}?", "Of what age is {s}?", "How many years old is {s}?", "How many years is {s}?",
            "What age did {s} turn this year?", "How old did {s} turn this year?", "How many years ago was {s} born?",
            "For how many years has {s} lived?", "How many years has {s} lived?", "How old a person is {s}?",
            "What age has {s} now?", "{s} is how old?", "{s} is what age?", "{s} has lived how many years?",
            "{s} turned what age this year?", "{s} was born how many years ago?",
        ),
        noun_phrases=(
            "the age of {s}", "the age in years of {s}", "the number of years {s} has lived", "the age that {s} turned this year",
            "the age {s} has now",
        ),
        clauses=(
            "how old {s} is", "what age {s} is", "how many years old {s} is", "what age {s} turned this year",
            "how many years ago {s} was born", "how many years {s} has lived", "what the age of {s} is",
        ),
        held_out=(
            "Could you tell me how old {s} is?", "What age does {s} have?", "{s} is how many years old?",
            "How many years of age is {s}?",
        ),
        follow_ups=("How old is {he}?", "And how old is {he}?", "What is {his} age?"),
    ),
}  # fmt: skip
