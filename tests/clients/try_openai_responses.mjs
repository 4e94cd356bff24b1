// The Responses API with the official SDK for JavaScript: npm install openai
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const client = new OpenAI(); // takes OPENAI_BASE_URL and OPENAI_API_KEY from the environment
const picture = readFileSync(process.env.PICTURE).toString("base64");

const model = "cheshire-cat";
const ask = (input, more) => client.responses.create({ model, input, ...more });

const chat = await ask("Who are you?");

const stream = [];
for await (const event of await ask("Who are you?", { stream: true })) {
  if (event.type === "response.output_text.delta") stream.push(event.delta);
}

const helped = client.responses.stream({ model, input: "The first of two." });
const first = await helped.finalResponse();
const second = await ask("Who are you?", { previous_response_id: first.id });

const weather = {
  type: "function",
  name: "get_weather",
  description: "The weather in a city",
  parameters: {
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
    additionalProperties: false,
  },
  strict: true,
};
const question = { role: "user", content: "How is the weather in 'Oslo'?" };
const called = await ask([question], { tools: [weather] });
const [{ call_id, arguments: written }] = called.output;
const result = { type: "function_call_output", call_id, output: `${JSON.parse(written).city}: rain` };
const answered = await ask([question, ...called.output, result], { tools: [weather] });

// A tool whose input is a text, beside one that only OpenAI's servers have.
const shout = { type: "custom", name: "shout", description: "Says a text loudly.", format: { type: "text" } };
const loudly = { tools: [shout, { type: "web_search" }] };
const [shouting] = (await ask("Do shout 'purr'.", loudly)).output;
const shouts = [];
for await (const event of await ask("Do shout 'purr'.", { ...loudly, stream: true })) {
  if (event.type === "response.custom_tool_call_input.delta") shouts.push(event.delta);
}
if (shouts.join("") !== shouting.input) throw new Error("streamed otherwise");
const loud = { type: "custom_tool_call_output", call_id: shouting.call_id, output: `${shouting.input}!` };
const shouted = await ask(["Do shout 'purr'."].map((content) => ({ role: "user", content })).concat(shouting, loud), loudly);

const schema = {
  type: "object",
  properties: { name: { type: "string" }, legs: { type: "integer" } },
  required: ["name", "legs"],
  additionalProperties: false,
};
const format = { type: "json_schema", name: "animal", strict: true, schema };
const described = await client.responses.parse({ model, input: "'Dinah' has 4 legs.", text: { format } });

const image = { type: "input_image", image_url: `data:image/png;base64,${picture}`, detail: "auto" };
const text = { type: "input_text", text: "What is in this picture?" };
const seen = await ask([{ role: "user", content: [text, image] }]);

const items = [];
for await (const item of client.responses.inputItems.list(second.id, { order: "asc", limit: 2 })) {
  items.push(item.content[0].text);
}
const again = await client.responses.retrieve(chat.id);
await client.responses.delete(chat.id);
const gone = await client.responses.retrieve(chat.id).catch((error) => error);
if (again.output_text !== chat.output_text || gone.code !== "response_not_found") throw new Error("not kept");

console.log(
  JSON.stringify({
    chat: chat.output_text,
    stream,
    tools: answered.output_text,
    structured: described.output_parsed,
    image: seen.output_text,
    "custom tool": shouted.output_text,
    previous: second.output_text,
    "input items": items,
  }),
);
