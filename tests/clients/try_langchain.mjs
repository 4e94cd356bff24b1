// LangChain for JavaScript: npm install @langchain/openai @langchain/core zod
import { readFileSync } from "node:fs";
import { HumanMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI } from "@langchain/openai";
import { z } from "zod";

const model = new ChatOpenAI({
  model: "cheshire-cat",
  apiKey: process.env.OPENAI_API_KEY,
  configuration: { baseURL: process.env.OPENAI_BASE_URL },
});
const picture = readFileSync(process.env.PICTURE).toString("base64");

const chat = await model.invoke("Who are you?");

const stream = [];
for await (const chunk of await model.stream("Who are you?")) stream.push(chunk.content);

const weather = tool(async ({ city }) => `${city}: rain`, {
  name: "get_weather",
  description: "The weather in a city",
  schema: z.object({ city: z.string() }),
});
const withTools = model.bindTools([weather]);
const messages = [new HumanMessage("How is the weather in 'Oslo'?")];
messages.push(await withTools.invoke(messages));
for (const call of messages.at(-1).tool_calls) messages.push(await weather.invoke(call));
const told = await withTools.invoke(messages);

const animal = z.object({ name: z.string(), legs: z.number().int() });
const structured = await model.withStructuredOutput(animal, { name: "animal" }).invoke("'Dinah' has 4 legs.");

const seen = await model.invoke([
  new HumanMessage({
    content: [
      { type: "text", text: "What is in this picture?" },
      { type: "image_url", image_url: { url: `data:image/png;base64,${picture}` } },
    ],
  }),
]);

console.log(
  JSON.stringify({ chat: chat.content, stream, tools: told.content, structured, image: seen.content }),
);
