// Vercel's AI SDK with OpenAI's provider, which speaks the Responses API: npm install ai @ai-sdk/openai zod
import { readFileSync } from "node:fs";
import { createOpenAI } from "@ai-sdk/openai";
import { Output, generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";

const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL, apiKey: process.env.OPENAI_API_KEY });
const model = openai("cheshire-cat");

const chat = await generateText({ model, prompt: "Who are you?" });

const stream = [];
for await (const piece of streamText({ model, prompt: "Who are you?" }).textStream) stream.push(piece);

const get_weather = tool({
  description: "The weather in a city",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `${city}: rain`,
});
const weather = {
  model,
  tools: { get_weather },
  stopWhen: isStepCount(3),
  prompt: "How is the weather in 'Oslo'?",
};
const told = await generateText(weather);
const streamed = await streamText(weather).text;

// A tool whose input is a text, beside one that only OpenAI's servers have.
const shout = openai.tools.customTool({
  description: "Says a text loudly.",
  format: { type: "grammar", syntax: "regex", definition: "[a-z]+" },
  execute: async (input) => `${input}!`,
});
const loud = {
  model,
  tools: { shout, web_search: openai.tools.webSearch({}) },
  stopWhen: isStepCount(3),
  prompt: "Do shout 'purr'.",
};
const shouted = await generateText(loud);
const streamedShout = await streamText(loud).text;
if (streamedShout !== shouted.text) throw new Error(streamedShout);

const schema = z.object({ name: z.string(), legs: z.number().int() });
const animal = await generateText({ model, output: Output.object({ schema }), prompt: "'Dinah' has 4 legs." });

const picture = { type: "image", image: readFileSync(process.env.PICTURE) };
const text = { type: "text", text: "What is in this picture?" };
const seen = await generateText({ model, messages: [{ role: "user", content: [text, picture] }] });

// What the Cat said before is sent as references to the items of its responses.
const first = { role: "user", content: "The first of two." };
const before = await generateText({ model, messages: [first] });
const messages = [first, ...before.response.messages, { role: "user", content: "Who are you?" }];
const referring = await generateText({ model, messages });
const previousResponseId = before.finalStep.providerMetadata.openai.responseId;
const previous = await generateText({
  model,
  prompt: "Who are you?",
  providerOptions: { openai: { previousResponseId } },
});

console.log(
  JSON.stringify({
    chat: chat.text,
    stream,
    tools: told.text,
    "streamed tools": streamed,
    structured: animal.output,
    image: seen.text,
    "custom tool": shouted.text,
    session: referring.text,
    previous: previous.text,
  }),
);
