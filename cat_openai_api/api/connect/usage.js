
// ---- Usage

const DAY_SECONDS = 86400;
const PERIODS = { "7 days": 7, "30 days": 30, "90 days": 90 };
const MEASURES = { Tokens: "tokens", Requests: "requests" };
const BREAKDOWNS = { "By key": "api_key_id", "By person": "user_id", "By model": "model" };
const UNKNOWN = {
  api_key_id: "the Cat's own key, or a user's token",
  user_id: "not known any more",
  model: "not known",
};
const MAX_GROUPS = 20;

// The beginning of the name of a person who is the holder of a key.
const KEY_HOLDER = "openai-api-key:";

// The days of the period, and sums by the value of the field that they are broken down by.
let shownUsage = null;
let usageRequests = 0;

const noUsage = () => ({ requests: 0, input: 0, output: 0 });

function addUsage(sum, result) {
  sum.requests += result.num_model_requests;
  sum.input += result.input_tokens;
  sum.output += result.output_tokens ?? 0;
}

async function fetchUsage(kind, days, field) {
  const start = (Math.floor(Date.now() / 1000 / DAY_SECONDS) - days + 1) * DAY_SECONDS;
  const query = new URLSearchParams({ start_time: start, bucket_width: "1d", limit: 31 });
  if (field) query.set("group_by", field);
  const buckets = [];
  for (;;) {
    const page = await fetchJson(`/v1/organization/usage/${kind}?${query}`, { headers: authorization(key) });
    buckets.push(...page.data);
    if (!page.has_more) return buckets;
    query.set("page", page.next_page);
  }
}

async function showUsage(isAdmin) {
  const request = ++usageRequests;
  shownUsage = null;
  showStatus("usage-status", "");
  if (isAdmin) {
    try {
      const field = BREAKDOWNS[chosen("by")];
      const days = PERIODS[chosen("period")];
      const [completions, embeddings] = await Promise.all([
        fetchUsage("completions", days, field),
        fetchUsage("embeddings", days),
      ]);
      if (request !== usageRequests) return;
      shownUsage = sumUsage(completions, embeddings, field);
    } catch (error) {
      if (request === usageRequests) showFailure("usage-status", error);
    }
  }
  drawUsage();
}

function sumUsage(completions, embeddings, field) {
  const total = noUsage();
  const embedded = noUsage();
  const groups = new Map();
  const days = completions.map((bucket) => {
    const sum = noUsage();
    for (const result of bucket.results) {
      const group = result[field] ?? "";
      if (!groups.has(group)) groups.set(group, noUsage());
      for (const each of [sum, total, groups.get(group)]) addUsage(each, result);
    }
    return { start: bucket.start_time, ...sum };
  });
  for (const bucket of embeddings) for (const result of bucket.results) addUsage(embedded, result);
  return { field, days, total, embedded, groups };
}

function drawUsage() {
  const usage = shownUsage ?? { field: "model", days: [], total: noUsage(), embedded: noUsage(), groups: new Map() };
  const { total, embedded, days } = usage;
  $("usage-sum").textContent = `${count(total.requests, "request")}, ${count(total.input + total.output, "token")}: ` +
    `${number(total.input)} in, ${number(total.output)} out.`;
  $("embeddings-sum").textContent = embedded.requests
    ? `Embeddings, which are not in the numbers above: ${count(embedded.requests, "request")}, ` +
      `${count(embedded.input, "token")}.`
    : "";
  drawBars(days);
  fillRows("day-rows", days.map((each) => [day(each.start), each.requests, each.input + each.output]));
  showGroups(usage);
}

const count = (value, word) => `${number(value)} ${word}${value === 1 ? "" : "s"}`;

function drawBars(days) {
  const isTokens = MEASURES[chosen("measure")] === "tokens";
  const parts = isTokens ? ["output", "input"] : ["requests"];
  const height = (each) => parts.reduce((sum, part) => sum + each[part], 0);
  const highest = Math.max(1, ...days.map(height));
  $("bars").setAttribute("viewBox", `0 0 ${10 * Math.max(days.length, 1)} 100`);
  $("bars").replaceChildren();
  for (const [place, each] of days.entries()) {
    let top = 100;
    for (const part of parts) {
      const size = (96 * each[part]) / highest;
      top -= size;
      if (size) draw("rect", { class: part, x: 10 * place + 1.5, y: top, width: 7, height: size });
    }
    const hit = draw("rect", { class: "hit", x: 10 * place, y: 0, width: 10, height: 100 });
    const title = document.createElementNS(hit.namespaceURI, "title");
    title.textContent = `${day(each.start)}: ${count(each.requests, "request")}, ${number(each.input)} tokens in, ` +
      `${number(each.output)} out`;
    hit.append(title);
  }
  $("bars-from").textContent = days.length ? day(days[0].start) : "";
  $("bars-to").textContent = days.length ? day(days.at(-1).start) : "";
  const names = { input: "input", output: "output", requests: "requests" };
  $("bars-label").replaceChildren(`${isTokens ? "Tokens" : "Requests"} by day (UTC), highest ${number(highest)}.`);
  if (!isTokens) return;
  for (const part of parts) {
    add($("bars-label"), `swatch ${part}`, "");
    $("bars-label").append(names[part]);
  }
}

function draw(tag, attributes) {
  const shape = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) shape.setAttribute(name, value);
  $("bars").append(shape);
  return shape;
}

function fillRows(id, rows) {
  const lines = rows.map(([name, ...values]) => {
    const line = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name;
    line.append(head);
    for (const value of values) line.insertCell().textContent = number(value);
    return line;
  });
  $(id).replaceChildren(...lines);
}

function showGroups({ field, groups }) {
  const measure = MEASURES[chosen("measure")];
  const size = (sum) => (measure === "tokens" ? sum.input + sum.output : sum.requests);
  const sorted = [...groups].sort(([, one], [, other]) => size(other) - size(one));
  const rows = sorted.slice(0, MAX_GROUPS).map(([name, sum]) => [groupName(field, name), sum]);
  const rest = sorted.slice(MAX_GROUPS);
  if (rest.length) {
    const others = noUsage();
    for (const [, sum] of rest) for (const part of Object.keys(others)) others[part] += sum[part];
    rows.push([`${number(rest.length)} others`, others]);
  }
  $("by-title").textContent = { api_key_id: "Key", user_id: "Person", model: "Model" }[field];
  fillRows("by-rows", rows.map(([name, sum]) => [name, sum.requests, sum.input, sum.output]));
}

function groupName(field, name) {
  if (!name) return UNKNOWN[field];
  const keyName = (id) => knownKeys.find((apiKey) => apiKey.id === id)?.name ?? id;
  if (field === "api_key_id") return keyName(name);
  return name.startsWith(KEY_HOLDER) ? `the program with the key ${keyName(name.slice(KEY_HOLDER.length))}` : name;
}

function showBudgets() {
  const limited = knownKeys.filter((apiKey) => apiKey.tokens_per_day !== null);
  $("budgets").hidden = !limited.length;
  $("budget-list").replaceChildren(
    ...limited.map((apiKey) => {
      const item = document.createElement("li");
      const meter = document.createElement("meter");
      const text = `${apiKey.name}: ${number(apiKey.tokens_today)} of ${number(apiKey.tokens_per_day)} tokens`;
      add(item, "details", text);
      meter.max = apiKey.tokens_per_day;
      // Green to four fifths, then yellow, and red where it is used up.
      meter.optimum = 0;
      meter.low = 0.8 * apiKey.tokens_per_day;
      meter.high = apiKey.tokens_per_day * (1 - Number.EPSILON);
      meter.value = Math.min(apiKey.tokens_today, apiKey.tokens_per_day);
      meter.setAttribute("aria-label", text);
      item.append(meter);
      return item;
    }),
  );
}

async function refresh() {
  try {
    await reloadKeys();
  } catch (error) {
    showFailure("keys-status", error);
  }
  await showUsage(true);
}

showChoices("period", Object.keys(PERIODS), 1);
showChoices("measure", Object.keys(MEASURES), 0);
showChoices("by", Object.keys(BREAKDOWNS), 0);
$("refresh").addEventListener("click", refresh);
$("measure").addEventListener("change", drawUsage);
for (const id of ["period", "by"]) $(id).addEventListener("change", () => showUsage(true));
