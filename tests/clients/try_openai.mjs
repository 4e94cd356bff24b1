// The official SDK for JavaScript: npm install openai
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const client = new OpenAI(); // takes OPENAI_BASE_URL and OPENAI_API_KEY from the environment
const picture = readFileSync(process.env.PICTURE).toString("base64");

const model = "cheshire-cat";
const ask = (messages, more) => client.chat.completions.create({ model, messages, ...more });
const user = (content) => ({ role: "user", content });

const models = [];
for await (const each of client.models.list()) models.push(each.id);

const chat = await ask([user("Who are you?")]);

const stream = [];
for await (const chunk of await ask([user("Who are you?")], { stream: true })) {
  stream.push(chunk.choices[0].delta.content ?? "");
}

const runner = client.chat.completions.runTools({
  model,
  messages: [user("How is the weather in 'Oslo'?")],
  tools: [
    {
      type: "function",
      function: {
        name: "get_weather",
        description: "The weather in a city",
        parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
        parse: JSON.parse,
        function: ({ city }) => `${city}: rain`,
      },
    },
  ],
});

const schema = {
  type: "object",
  properties: { name: { type: "string" }, legs: { type: "integer" } },
  required: ["name", "legs"],
  additionalProperties: false,
};
const response_format = { type: "json_schema", json_schema: { name: "animal", strict: true, schema } };
const animal = await client.chat.completions.parse({
  model,
  messages: [user("'Dinah' has 4 legs.")],
  response_format,
});

const seen = await ask([
  user([
    { type: "text", text: "What is in this picture?" },
    { type: "image_url", image_url: { url: `data:image/png;base64,${picture}` } },
  ]),
]);

console.log(
  JSON.stringify({
    models,
    chat: chat.choices[0].message.content,
    stream,
    tools: await runner.finalContent(),
    structured: JSON.parse(animal.choices[0].message.content),
    image: seen.choices[0].message.content,
  }),
);
