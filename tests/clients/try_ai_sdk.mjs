// Vercel's AI SDK: npm install ai @ai-sdk/openai-compatible zod
import { readFileSync } from "node:fs";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";

const cat = createOpenAICompatible({
  name: "cat",
  baseURL: process.env.OPENAI_BASE_URL,
  apiKey: process.env.OPENAI_API_KEY,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const model = cat("cheshire-cat");

const chat = await generateText({ model, prompt: "Who are you?" });

const stream = [];
for await (const piece of streamText({ model, prompt: "Who are you?" }).textStream) stream.push(piece);

const get_weather = tool({
  description: "The weather in a city",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `${city}: rain`,
});
const told = await generateText({
  model,
  tools: { get_weather },
  stopWhen: isStepCount(3),
  prompt: "How is the weather in 'Oslo'?",
});

const schema = z.object({ name: z.string(), legs: z.number().int() });
const animal = await generateText({ model, output: Output.object({ schema }), prompt: "'Dinah' has 4 legs." });

const picture = { type: "file", mediaType: "image/png", data: readFileSync(process.env.PICTURE) };
const text = { type: "text", text: "What is in this picture?" };
const seen = await generateText({ model, messages: [{ role: "user", content: [text, picture] }] });

console.log(
  JSON.stringify({ chat: chat.text, stream, tools: told.text, structured: animal.output, image: seen.text }),
);
