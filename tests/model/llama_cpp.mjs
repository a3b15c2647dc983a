// Greedy tokens and token ids from llama.cpp: node llama_cpp.mjs NODE_MODULES MODEL.gguf < {"prompts": [[ids]], "texts": [...], "count": n}
import {createRequire} from "node:module";
import {pathToFileURL} from "node:url";

const [modules, path] = process.argv.slice(2);
const entry = createRequire(pathToFileURL(modules + "/")).resolve("node-llama-cpp");
const {getLlama} = await import(pathToFileURL(entry));
let input = "";
for await (const piece of process.stdin) input += piece;
const {prompts, texts, count} = JSON.parse(input);

const llama = await getLlama({gpu: false, build: "never", logLevel: "error", maxThreads: 1});
const model = await llama.loadModel({modelPath: path, gpuLayers: 0});
const context = await model.createContext({contextSize: 512, sequences: 1, threads: 1, flashAttention: false, experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32"});
const sequence = context.getSequence();
const answers = [];
for (const prompt of prompts) {
    await sequence.clearHistory();
    const answer = [];
    for await (const token of sequence.evaluate(prompt, {temperature: 0, yieldEogToken: true})) {
        answer.push(token);
        if (answer.length === count) break;
    }
    answers.push(answer);
}
const ids = texts.map((text) => model.tokenize(text, false, "trimLeadingSpace").map(Number));
process.stdout.write(JSON.stringify({answers, ids}) + "\n");
process.exit(0);
