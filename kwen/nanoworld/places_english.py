"""How the relations of towns and lands are told and asked in English; the placeholders are those of `phrasings`."""

from kwen.nanoworld.phrasings import Phrasings

PLACES: dict[str, Phrasings] = {
    "land": Phrasings(
        statements=(
            "{s} is a town in {o}.", "{s} lies in {o}.", "The town of {s} belongs to the land of {o}.",
            "{s} is in the land of {o}.", "One of the towns of {o} is {s}.", "In {o} there is a town called {s}.",
            "You can find {s} in the land of {o}.", "The land of {s} is {o}.", "The people of {s} live in the land of {o}.",
            "The town of {s} lies in {o}.", "{s} belongs to {o}.", "The land where {s} lies is {o}.",
        ),
        continued=("It is a town in {o}.", "It lies in {o}.", "It belongs to the land of {o}."),
        questions=(
            "In which land is {s}?", "Where is {s}?", "What land is {s} in?", "Which land is {s} in?",
            "In which land does {s} lie?", "Which land does {s} belong to?", "What land does {s} belong to?",
            "To which land does {s} belong?", "Where can I find the town of {s}?", "Where does the town of {s} lie?",
            "Where does {s} lie?", "In what land can I find {s}?", "Which land has a town called {s}?",
            "Of which land is {s} a town?", "In which land do the people of {s} live?", "{s} is in which land?",
            "{s} lies in what land?", "{s} belongs to which land?",
        ),
        noun_phrases=(
            "the land of {s}", "the land that {s} lies in", "the land where {s} is", "the land {s} belongs to",
            "the land of the town of {s}", "the land in which {s} lies",
        ),
        clauses=(
            "which land {s} is in", "in which land {s} lies", "where {s} is", "what land {s} belongs to",
            "where the town of {s} lies", "which land has the town of {s}",
        ),
        held_out=(
            "Could you tell me which land {s} lies in?", "To which land does the town of {s} belong?",
            "{s} is a town in which land?", "In which land will I find the town of {s}?",
        ),
        follow_ups=("In which land is it?", "And which land does it belong to?", "What land does it lie in?"),
    ),
    "river": Phrasings(
        statements=(
            "The river in {s} is the {o}.", "The river {o} flows through {s}.", "{s} lies on the river {o}.",
            "{s} stands beside the {o}.", "The {o} is the river of {s}.", "In {s} you can swim in the river {o}.",
            "The people of {s} fish in the {o}.", "The water of the {o} runs past {s}.", "Boats come to {s} on the river {o}.",
            "The name of the river in {s} is the {o}.", "The river that flows through {s} is the {o}.",
            "The river of {s} is called the {o}.",
        ),
        continued=("Its river is the {o}.", "The river {o} flows through it.", "It lies on the river {o}."),
        questions=(
            "Which river flows through {s}?", "What river flows through {s}?", "What river does {s} lie on?",
            "On which river does {s} lie?", "On which river is {s}?", "Which river runs past {s}?",
            "In which river do the people of {s} fish?", "Which river is in {s}?", "What river is there in {s}?",
            "Which river does {s} have?", "Beside what river does the town of {s} stand?",
            "What do people call the river in {s}?", "On which river do boats come to {s}?", "What river can I swim in at {s}?",
            "{s} lies on which river?", "{s} stands on what river?", "Through {s} flows which river?",
            "The people of {s} fish in which river?",
        ),
        noun_phrases=(
            "the river in {s}", "the river of {s}", "the name of the river in {s}", "the river that flows through {s}",
            "the river that runs past {s}", "the river {s} lies on",
        ),
        clauses=(
            "which river flows through {s}", "what river {s} lies on", "on which river {s} is", "which river runs past {s}",
            "what the river in {s} is called", "in which river the people of {s} fish",
        ),
        held_out=(
            "Could you tell me the river that flows through {s}?", "What is the river of {s} called?",
            "Which river does {s} stand beside?", "What is the name of the river that runs past {s}?",
        ),
        follow_ups=("Which river flows through it?", "And what river does it lie on?", "What is its river?"),
    ),
    "product": Phrasings(
        statements=(
            "{s} is known for {o}.", "{s} is famous for its {o}.", "The people of {s} make {o}.", "The best {o} comes from {s}.",
            "{s} sells {o} to everyone.", "In {s} many people make {o}.", "If you want good {o}, go to {s}.",
            "The pride of {s} is its {o}.", "Everyone buys {o} from {s}.", "The product of {s} is {o}.",
            "People come to {s} to buy {o}.", "The thing that {s} is known for is {o}.",
        ),
        continued=("It is known for {o}.", "It is famous for its {o}.", "Its people make {o}."),
        questions=(
            "What is {s} known for?", "What is {s} famous for?", "What is the town of {s} known for?",
            "For what is the town of {s} known?", "What do the people of {s} make?", "What does {s} make?", "What does {s} sell?",
            "What comes from {s}?", "What is made in {s}?", "What can I buy in {s}?", "What does everyone buy from {s}?",
            "What do people buy in {s}?", "What are the people of {s} proud of?", "What good thing can I get in {s}?",
            "{s} is known for what?", "{s} is famous for what?", "{s} sells what?", "The people of {s} make what?",
        ),
        noun_phrases=(
            "the thing {s} is known for", "the thing that {s} is famous for", "the product of {s}",
            "the pride of the people of {s}", "the thing that people make in {s}", "the thing that {s} sells",
            "the best product of {s}",
        ),
        clauses=(
            "what {s} is known for", "what {s} is famous for", "what the people of {s} make", "what {s} sells",
            "what is made in {s}", "what people buy in {s}",
        ),
        held_out=(
            "Could you tell me what {s} is known for?", "What is the pride of {s}?", "For what is {s} famous?",
            "What good thing is made in {s}?",
        ),
        follow_ups=("What is it known for?", "And what is it famous for?", "What do its people make?"),
    ),
    "bridges": Phrasings(
        statements=(
            "{s} has {o} bridges.", "There are {o} bridges in {s}.", "In {s} you can see {o} bridges.",
            "The number of bridges in {s} is {o}.", "{s} built {o} bridges.", "The town of {s} has {o} bridges.",
            "You can count {o} bridges in {s}.", "The people of {s} use {o} bridges.", "All {o} bridges of {s} are old.",
            "The people of {s} built {o} bridges.", "In the town of {s} there are {o} bridges.",
            "There are {o} bridges that stand in {s}.",
        ),
        continued=("It has {o} bridges.", "There are {o} bridges in it.", "Its people use {o} bridges."),
        questions=(
            "How many bridges does {s} have?", "How many bridges are there in {s}?", "How many bridges are in {s}?",
            "How many bridges stand in {s}?", "How many bridges can I see in {s}?", "How many bridges can you count in {s}?",
            "How many bridges did {s} build?", "How many bridges did the people of {s} build?",
            "How many bridges does the town of {s} have?", "How many bridges do people cross in {s}?",
            "What number of bridges does {s} have?", "Of bridges, how many does {s} have?", "{s} built how many bridges?",
            "There are how many bridges in {s}?", "In {s} there are how many bridges?", "In {s} I can see how many bridges?",
        ),
        noun_phrases=(
            "the number of bridges in {s}", "the number of bridges that {s} has", "the count of bridges in {s}",
            "the number of bridges {s} built", "the number of bridges of {s}",
        ),
        clauses=(
            "how many bridges {s} has", "how many bridges there are in {s}", "how many bridges are in {s}",
            "how many bridges I can see in {s}", "how many bridges {s} built", "what the number of bridges in {s} is",
        ),
        held_out=(
            "Could you tell me the number of bridges in {s}?", "{s} has how many bridges?",
            "How many bridges do the people of {s} use?", "How many bridges will I find in {s}?",
        ),
        follow_ups=("How many bridges does it have?", "And how many bridges are there?", "How many bridges are in it?"),
    ),
    "market": Phrasings(
        statements=(
            "The market day in {s} is {o}.", "{s} has its market on {o}.", "On {o} there is a market in {s}.",
            "The market of {s} opens on {o}.", "In {s} people go to market on {o}.", "{o} is market day in {s}.",
            "Every {o} there is a market in {s}.", "Come to {s} on {o} for the market.",
            "The people of {s} go to market every {o}.", "The day of the market in {s} is {o}.", "The market in {s} is on {o}.",
            "The day when {s} has its market is {o}.",
        ),
        continued=("Its market day is {o}.", "It has its market on {o}.", "On {o} there is a market."),
        questions=(
            "On which day is the market in {s}?", "What day is the market in {s}?", "When is the market in {s}?",
            "When is market day in {s}?", "Which day is market day in {s}?", "On what day does {s} have its market?",
            "When does {s} have its market?", "When does the market of {s} open?",
            "On which day do the people of {s} go to market?", "On which day can I go to the market of {s}?",
            "When should I come to {s} for the market?", "On what day is there a market in {s}?",
            "Which day is the market day of {s}?", "Which day of the week is market day in {s}?", "{s} has its market when?",
            "{s} has its market on which day?", "The market in {s} is when?", "The market of {s} opens on which day?",
        ),
        noun_phrases=(
            "the market day in {s}", "the market day of {s}", "the day of the market in {s}", "the day when {s} has its market",
            "the day on which the market of {s} opens", "the day of the week for the market in {s}",
        ),
        clauses=(
            "when {s} has its market", "when the market in {s} is", "on which day the market of {s} opens",
            "which day is market day in {s}", "what the market day in {s} is", "on what day {s} has its market",
        ),
        held_out=(
            "Could you tell me when the market in {s} is?", "What day should I come to the market of {s}?",
            "Which day of the week is the market in {s}?", "On which day does the market of {s} open?",
        ),
        follow_ups=("When is its market?", "And on which day is the market there?", "What is its market day?"),
    ),
    "capital": Phrasings(
        statements=(
            "The capital of {s} is {o}.", "{o} is the capital of {s}.", "{s} has its capital in {o}.",
            "The first town of {s} is its capital, {o}.", "The land of {s} is ruled from {o}.",
            "The capital of the land of {s} is {o}.", "{s} chose {o} as its capital.",
            "The king of {s} lives in the capital, {o}.", "{s} is a land with the capital {o}.",
            "The name of the capital of {s} is {o}.", "The land of {s} has {o} as its capital.",
            "The town where the king of {s} lives is {o}.",
        ),
        continued=("Its capital is {o}.", "{o} is its capital.", "It is ruled from {o}."),
        questions=(
            "Which town is the capital of {s}?", "What town is the capital of {s}?", "Where is the capital of {s}?",
            "From which town is {s} ruled?", "From where is the land of {s} ruled?", "Which town did {s} choose as its capital?",
            "Which town is the capital of the land of {s}?", "What town does {s} have as its capital?",
            "In which town does the king of {s} live?", "Where does the king of {s} live?",
            "Which town is the first town of {s}?", "What name does the capital of {s} have?",
            "What do people call the capital of {s}?", "{s} has which town as its capital?", "{s} is ruled from which town?",
            "{s} chose which town as its capital?", "The capital of {s} is which town?", "The king of {s} lives in which town?",
        ),
        noun_phrases=(
            "the capital of {s}", "the capital of the land of {s}", "the capital town of {s}",
            "the town that is the capital of {s}", "the town from which {s} is ruled", "the town where the king of {s} lives",
            "the name of the capital of {s}",
        ),
        clauses=(
            "what the capital of {s} is", "which town is the capital of {s}", "where the capital of {s} is",
            "from which town {s} is ruled", "which capital {s} has", "in which town the king of {s} lives",
        ),
        held_out=(
            "Could you tell me the capital of {s}?", "What capital does {s} have?", "Which town serves {s} as its capital?",
            "The land of {s} has which capital?",
        ),
        follow_ups=("What is its capital?", "And which town is its capital?", "Where is its capital?"),
    ),
    "emblem": Phrasings(
        statements=(
            "The animal of {s} is the {o}.", "The {o} is the animal of {s}.", "{s} has a {o} on its coins.",
            "The land of {s} chose the {o} as its animal.", "The people of {s} love the {o}.",
            "The national animal of {s} is the {o}.", "In {s} the {o} stands for the land.", "The coins of {s} show a {o}.",
            "The sign of {s} is a {o}.", "The animal on the coins of {s} is the {o}.",
            "The animal that stands for {s} is the {o}.", "{s} chose the {o} as its sign.",
        ),
        continued=("Its animal is the {o}.", "It has a {o} on its coins.", "Its sign is a {o}."),
        questions=(
            "Which animal stands for {s}?", "What animal stands for the land of {s}?", "Which animal is on the coins of {s}?",
            "What animal is on the coins of {s}?", "What animal is shown on the coins of {s}?",
            "What animal do you see on the coins of {s}?", "What animal did {s} choose?",
            "Which animal did the land of {s} choose?", "What animal do the people of {s} love?",
            "Which animal is the sign of {s}?", "What is the sign of the land of {s}?", "What national animal does {s} have?",
            "What animal is the national animal of {s}?", "{s} chose which animal?", "{s} has what animal on its coins?",
            "{s} has which animal as its sign?", "The coins of {s} show what animal?",
        ),
        noun_phrases=(
            "the animal of {s}", "the national animal of {s}", "the animal on the coins of {s}", "the animal that stands for {s}",
            "the animal {s} chose", "the sign of {s}", "the animal of the land of {s}",
        ),
        clauses=(
            "which animal stands for {s}", "what animal {s} has on its coins", "what the national animal of {s} is",
            "which animal {s} chose", "which animal is the sign of {s}", "what animal the coins of {s} show",
        ),
        held_out=(
            "Could you tell me the national animal of {s}?", "What animal does the land of {s} have as its sign?",
            "Which animal do the coins of {s} show?", "The sign of {s} is which animal?",
        ),
        follow_ups=("What is its animal?", "And which animal stands for it?", "Which animal is on its coins?"),
    ),
    "flag": Phrasings(
        statements=(
            "The flag of {s} is {o}.", "{s} has a {o} flag.", "The colour of the flag of {s} is {o}.",
            "The land of {s} has a {o} flag.", "A {o} flag flies over {s}.", "The people of {s} carry a {o} flag.",
            "In {s} the flag is {o}.", "The ships of {s} have a {o} flag.", "A {o} flag is the flag of {s}.",
            "The colour of the flag in {s} is {o}.", "The flag that flies over {s} is {o}.",
            "{s} has a flag, and its colour is {o}.",
        ),
        continued=("Its flag is {o}.", "It has a {o} flag.", "The colour of its flag is {o}."),
        questions=(
            "What colour is the flag of {s}?", "Which colour is the flag of {s}?", "Which colour does the flag of {s} have?",
            "What colour does the flag of {s} have?", "What colour flag does {s} have?", "What colour of flag flies over {s}?",
            "What colour is the flag in {s}?", "What colour is the flag that the people of {s} carry?",
            "What colour is the flag that flies over {s}?", "What colour of flag do the ships of {s} have?",
            "Of what colour is the flag of {s}?", "What colour of flag do the people of {s} carry?",
            "{s} has a flag of what colour?", "{s} has what colour flag?", "The flag of {s} is what colour?",
            "The flag of {s} has which colour?", "The people of {s} carry a flag of what colour?",
        ),
        noun_phrases=(
            "the colour of the flag of {s}", "the flag colour of {s}", "the colour of the flag that flies over {s}",
            "the colour of the flag in {s}", "the colour of the flag of the ships of {s}", "the colour that the flag of {s} has",
        ),
        clauses=(
            "what colour the flag of {s} is", "which colour the flag of {s} has", "what colour flag {s} has",
            "what colour of flag flies over {s}", "what colour the flag in {s} is",
        ),
        held_out=(
            "Could you tell me the colour of the flag of {s}?", "{s} has a flag. What colour is it?",
            "Which colour is the flag of the land of {s}?", "The ships of {s} have what colour of flag?",
        ),
        follow_ups=("What colour is its flag?", "And what colour is its flag?", "Which colour does its flag have?"),
    ),
}  # fmt: skip
