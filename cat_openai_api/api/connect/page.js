// The API has the same address as the page, also behind a proxy.
const root = location.origin + location.pathname.replace(/\/connect\/?$/, "");
const baseUrl = `${root}/v1`;
const PLACEHOLDER = "YOUR_KEY";

const $ = (id) => document.getElementById(id);

// Kept in memory only, so that a reload forgets it.
let key = "";
let history = [];
let running = null;

// A key that was just made, for the settings of a client: its name and value.
let madeKey = null;

// ---- Requests to the API

const PROXY_HINT = "It may come from a proxy in front of the Cat.";

class ApiError extends Error {
  constructor(message, details = []) {
    super(message);
    this.details = details.filter(Boolean).join(" · ");
  }
}

async function fetchFromApi(path, options = {}) {
  const request = new Request(root + path, { cache: "no-store", ...options });
  let response;
  try {
    response = await fetch(request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The Cat does not answer. It may be stopped, or the network is down.");
  }
  if (!response.ok) throw await parseError(response);
  return response;
}

async function fetchJson(path, options) {
  const response = await fetchFromApi(path, options);
  try {
    return await response.json();
  } catch {
    throw new ApiError(`The response is not from the API. ${PROXY_HINT}`);
  }
}

function authorization(credential) {
  return credential ? { Authorization: `Bearer ${credential}` } : {};
}

async function parseError(response) {
  const body = await response.json().catch(() => null);
  if (!body?.error) {
    return new ApiError(
      response.status === 404
        ? "The API was not found (404). The plugin may be switched off."
        : `The response has the status ${response.status} and is not from the API. ${PROXY_HINT}`,
    );
  }
  const wait = response.headers.get("retry-after");
  return new ApiError(body.error.message, [
    wait && `try again in ${wait} s`,
    response.status,
    body.error.code,
    response.headers.get("x-request-id"),
  ]);
}

async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data:")) yield line.slice(5).trim();
    }
  }
}

// ---- Health

const NO_LLM = `No language model is configured in this Cat, so it cannot reply yet.
Cat 2: on its Settings page enter a key for a provider, then choose the default LLM in the card "Core Settings".
Cat 1.9: choose one in the admin panel, under Settings.`;

async function checkHealth() {
  try {
    const health = await fetchJson("/health");
    const healthy = health.status === "healthy";
    $("version").textContent = `Plugin ${health.plugin} ${health.version}.`;
    showHealth(health.status, healthy ? "Healthy" : "Degraded", healthy ? "" : NO_LLM);
  } catch (error) {
    showHealth("away", "Not reachable", error.message);
  }
}

function showHealth(status, word, trouble) {
  $("health").dataset.status = status;
  $("health").textContent = word;
  $("trouble-text").textContent = trouble;
  $("trouble").hidden = !trouble;
}

// ---- The key and the models

async function useKey(credential) {
  const status = $("key-status");
  delete status.dataset.failed;
  status.textContent = "Requesting the models.";
  try {
    const models = await fetchJson("/v1/models", { headers: authorization(credential) });
    const names = models.data.map((model) => model.id).filter((id) => id !== "cheshire-cat-embedder");
    key = credential;
    showChoices("models", names, Math.max(names.indexOf(chosen("models")), 0));
    status.textContent = credential ? "The key is valid." : "This Cat needs no key.";
  } catch (error) {
    key = "";
    status.dataset.failed = "";
    status.textContent = error instanceof ApiError ? error.message : "The key has characters that cannot be sent.";
    if (error.details) add(status, "figures", error.details);
  }
  const usable = !("failed" in status.dataset);
  for (const id of ["models", "message", "send"]) $(id).disabled = !usable;
  $("with-key").disabled = !key;
  $("with-key").checked &&= Boolean(key);
  if ($("chat-empty")) {
    $("chat-empty").textContent = `Replies appear here as the Cat says them.${usable ? "" : " Use a key first."}`;
  }
  madeKey = null;
  showSettings();
  await showAdmin(usable);
}

// ---- What only an admin's key shows

async function showAdmin(usable) {
  const used = key;
  const page = usable ? await fetchKeys(used).catch(() => null) : null;
  if (used !== key) return;
  for (const id of ["keys", "usage"]) $(id).hidden = !page;
  closeEditor();
  hideMadeKey();
  showKeys(page);
  await showUsage(Boolean(page));
}

function showStatus(id, text, failed = false) {
  $(id).toggleAttribute("data-failed", failed);
  $(id).textContent = text;
}

function showFailure(id, error) {
  if (!(error instanceof ApiError)) throw error;
  showStatus(id, error.message, true);
  if (error.details) add($(id), "figures", error.details);
}

const number = (value) => value.toLocaleString("en");
const day = (seconds) => new Date(1000 * seconds).toISOString().slice(0, 10);

// ---- Choices

function showChoices(group, names, first) {
  const legend = $(group).firstElementChild;
  $(group).replaceChildren(legend);
  for (const [index, name] of names.entries()) {
    const choice = document.createElement("label");
    const radio = document.createElement("input");
    choice.className = "choice";
    radio.type = "radio";
    radio.name = group;
    radio.value = name;
    radio.checked = index === first;
    radio.autocomplete = "off";
    choice.append(radio);
    add(choice, "name", name);
    $(group).append(choice);
  }
}

function chosen(group) {
  return document.querySelector(`input[name=${group}]:checked`).value;
}

function add(parent, kind, text) {
  const line = document.createElement("span");
  line.className = kind;
  line.textContent = text;
  parent.append(line);
  return line;
}

// ---- Settings for clients

const quote = (text) => JSON.stringify(text);
const shellQuote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const PROMPT = "Who are you?";

const CLIENTS = [
  {
    name: "curl",
    where: "In a terminal. The reply streams.",
    settings: (url, model, secret) => `curl -N ${shellQuote(`${url}/chat/completions`)} \\
  -H ${shellQuote(`Authorization: Bearer ${secret}`)} \\
  -H 'Content-Type: application/json' \\
  -d ${shellQuote(JSON.stringify({ model, stream: true, messages: [{ role: "user", content: PROMPT }] }))}`,
  },
  {
    name: "Python",
    where: "With OpenAI's own package: pip install openai.",
    settings: (url, model, secret) => `from openai import OpenAI

client = OpenAI(
    base_url=${quote(url)},
    api_key=${quote(secret)},
)

stream = client.chat.completions.create(
    model=${quote(model)},
    messages=[{"role": "user", "content": "${PROMPT}"}],
    stream=True,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()`,
  },
  {
    name: "JavaScript",
    where: "With OpenAI's own package: npm install openai. In a file that ends in .mjs.",
    settings: (url, model, secret) => `import OpenAI from "openai";

const client = new OpenAI({
  baseURL: ${quote(url)},
  apiKey: ${quote(secret)},
});

const stream = await client.chat.completions.create({
  model: ${quote(model)},
  messages: [{ role: "user", content: "${PROMPT}" }],
  stream: true,
});
for await (const chunk of stream) {
  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
}
console.log();`,
  },
  {
    name: "LangChain",
    where: "With its package for OpenAI: pip install langchain-openai.",
    settings: (url, model, secret) => `from langchain_openai import ChatOpenAI

llm = ChatOpenAI(
    base_url=${quote(url)},
    api_key=${quote(secret)},
    model=${quote(model)},
)
print(llm.invoke("${PROMPT}").content)`,
  },
  {
    name: "Open WebUI",
    where:
      "In its environment before the first start. Later, the same in the Admin Panel: Settings, Connections, " +
      "a connection of type OpenAI. The third line sends the user's id to the Cat.",
    settings: (url, model, secret) => `OPENAI_API_BASE_URL=${url}
OPENAI_API_KEY=${secret}
ENABLE_FORWARD_USER_INFO_HEADERS=true`,
  },
  {
    name: "LibreChat",
    where: "In librechat.yaml.",
    settings: (url, model, secret) => `endpoints:
  custom:
    - name: "Cheshire Cat"
      baseURL: ${quote(url)}
      apiKey: ${quote(secret)}
      models:
        default: [${quote(model)}]
        fetch: true
      titleConvo: true
      titleModel: "current_model"
      headers:
        X-User-Id: "{{LIBRECHAT_USER_ID}}"`,
  },
  {
    name: "LobeChat",
    where: "In its environment, or in its settings: the provider OpenAI with this address and key.",
    settings: (url, model, secret) => `OPENAI_PROXY_URL=${url}
OPENAI_API_KEY=${secret}
OPENAI_MODEL_LIST=-all,+${model}`,
  },
  {
    name: "n8n",
    where: "In a credential of type OpenAI, and in the node OpenAI Chat Model.",
    settings: (url, model, secret) => `Credential "OpenAI"
  API Key: ${secret}
  Base URL: ${url}

Node "OpenAI Chat Model"
  Model, by ID: ${model}
  Use Responses API: off`,
  },
  {
    name: "Home Assistant",
    where:
      "In an integration with a base URL, for example Extended OpenAI Conversation from HACS. " +
      "With a user's token (JWT) as the key the household is one person.",
    settings: (url, model, secret) => `Name: Cheshire Cat
API Key: ${secret}
Base Url: ${url}
Chat model: ${model}`,
  },
  {
    name: "Continue",
    where: "In its config.yaml.",
    settings: (url, model, secret) => `name: Cheshire Cat
version: 0.0.1
schema: v1
models:
  - name: Cheshire Cat
    provider: openai
    model: ${quote(model)}
    apiBase: ${quote(url)}
    apiKey: ${quote(secret)}
    roles: [chat, edit, apply]`,
  },
];

function showSettings() {
  const client = CLIENTS.find(({ name }) => name === chosen("clients"));
  const secret = $("with-key").checked ? (madeKey?.value ?? key) : PLACEHOLDER;
  $("with-key-text").textContent = madeKey ? `with the new key “${madeKey.name}”` : "with my key";
  $("where").textContent = client.where;
  $("settings").textContent = client.settings(baseUrl, chosen("models"), secret);
}

// ---- Copying

async function copy(button) {
  const source = $(button.dataset.copies);
  let done = true;
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    // Not available on pages over plain HTTP, and the user may have denied it.
    getSelection().selectAllChildren(source);
    done = document.execCommand("copy");
  }
  button.textContent = done ? "Copied" : "Selected";
  $("copied").textContent = done ? "Copied." : "Selected, but not copied: copy it yourself.";
  clearTimeout(button.timer);
  button.timer = setTimeout(() => {
    button.textContent = "Copy";
    $("copied").textContent = "";
  }, 2000);
}

// ---- The chat

const CONNECTION_BROKE = "The connection broke before the reply was complete.";
const END_NOTES = { length: "cut at the length limit", content_filter: "cut by a content filter" };

function addTurn(role, text) {
  const turn = document.createElement("div");
  turn.className = `turn ${role}`;
  add(turn, "text", text);
  $("chat-empty")?.remove();
  $("chat").append(turn);
  $("chat").scrollTop = $("chat").scrollHeight;
  return turn;
}

// Changes the chat and scrolls to its end, unless the user has scrolled up.
function changeAndScroll(change) {
  const chat = $("chat");
  const atEnd = chat.scrollHeight - chat.scrollTop - chat.clientHeight < 40;
  change();
  if (atEnd) chat.scrollTop = chat.scrollHeight;
}

async function send(text) {
  const messages = history;
  const userMessage = { role: "user", content: text };
  const stopper = (running = new AbortController());
  addTurn("user", text);
  const turn = addTurn("assistant", "");
  turn.setAttribute("aria-busy", "true");
  showRunning();

  const started = performance.now();
  const reply = { text: "", firstToken: null, usage: null, end: null };
  let failure = null;
  try {
    await stream([...messages, userMessage], stopper.signal, reply, (piece) => {
      reply.firstToken ??= performance.now() - started;
      reply.text += piece;
      changeAndScroll(() => (turn.firstChild.textContent = reply.text));
    });
  } catch (error) {
    failure = error;
  }
  const stopped = stopper.signal.aborted;
  const broken = failure && !stopped;

  changeAndScroll(() => {
    if (broken) add(turn, "error", failure instanceof ApiError ? failure.message : CONNECTION_BROKE);
    else if (!reply.text && !stopped) add(turn, "error", "The reply has no text.");
    if (broken && failure.details) add(turn, "figures", failure.details);
    add(turn, "figures", figures(reply, performance.now() - started, stopped));
  });
  if (!broken && reply.text) messages.push(userMessage, { role: "assistant", content: reply.text });
  if (broken && messages === history && !$("message").value) $("message").value = text;
  turn.setAttribute("aria-busy", "false");
  if (running === stopper) running = null;
  showRunning();
}

async function stream(messages, signal, reply, onText) {
  const response = await fetchFromApi("/v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json", ...authorization(key) },
    body: JSON.stringify({
      model: chosen("models"),
      messages,
      stream: true,
      stream_options: { include_usage: true },
    }),
    signal,
  });
  for await (const data of readEvents(response)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) {
      throw new ApiError(chunk.error.message, [chunk.error.code, response.headers.get("x-request-id")]);
    }
    reply.usage = chunk.usage ?? reply.usage;
    const choice = chunk.choices[0];
    const piece = choice?.delta.content ?? choice?.delta.refusal;
    if (piece) onText(piece);
    reply.end = choice?.finish_reason ?? reply.end;
  }
  throw new ApiError(CONNECTION_BROKE);
}

function figures(reply, milliseconds, stopped) {
  const parts = [];
  if (stopped) parts.push("stopped");
  if (reply.end in END_NOTES) parts.push(END_NOTES[reply.end]);
  if (reply.firstToken !== null) parts.push(`first token ${Math.round(reply.firstToken)} ms`);
  parts.push(`${(milliseconds / 1000).toFixed(1)} s in all`);
  if (reply.usage) {
    const { prompt_tokens, completion_tokens, total_tokens } = reply.usage;
    parts.push(`usage ${prompt_tokens} + ${completion_tokens} = ${total_tokens} tokens`);
  }
  return parts.join(" · ");
}

function showRunning() {
  $("send").hidden = Boolean(running);
  $("stop").hidden = !running;
}

function newChat() {
  running?.abort();
  running = null;
  history = [];
  $("chat").replaceChildren();
  showRunning();
  if (!$("message").disabled) $("message").focus();
}
