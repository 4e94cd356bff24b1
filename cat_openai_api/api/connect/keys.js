
// ---- Keys

let editedKey = null;
let knownKeys = [];

async function fetchKeys(credential, after) {
  const from = after ? `&after=${encodeURIComponent(after)}` : "";
  return fetchJson(`/keys?limit=100&order=desc${from}`, { headers: authorization(credential) });
}

function sendKey(method, path, body) {
  return fetchJson(`/keys${path}`, {
    method,
    headers: { "Content-Type": "application/json", ...authorization(key) },
    body: body && JSON.stringify(body),
  });
}

// `page`: the newest keys; null where the user is no admin.
function showKeys(page) {
  $("key-list").replaceChildren();
  knownKeys = [];
  showStatus("keys-status", "");
  $("keys-warning").textContent = page?.warning ? `${page.warning[0].toUpperCase()}${page.warning.slice(1)}.` : "";
  $("keys-warning").hidden = !page?.warning;
  addKeys(page ?? { data: [], has_more: false });
}

function addKeys(page) {
  knownKeys.push(...page.data);
  for (const each of page.data) $("key-list").append(keyItem(each));
  $("no-keys").hidden = knownKeys.length > 0;
  $("more-keys").hidden = !page.has_more;
  showBudgets();
}

async function reloadKeys() {
  showKeys(await fetchKeys(key));
}

function keyItem(apiKey) {
  const item = document.createElement("li");
  const expired = apiKey.expires_at !== null && apiKey.expires_at * 1000 <= Date.now();
  item.dataset.key = apiKey.id;
  item.classList.toggle("off", expired || !apiKey.enabled);

  const about = add(item, "about", "");
  add(about, "title", apiKey.name);
  if (!apiKey.enabled) add(about, "tag", "disabled");
  if (expired) add(about, "tag", "expired");
  add(about, "details", keyDetails(apiKey, expired).join(" · "));

  const actions = add(item, "row", "");
  keyButton(actions, apiKey, "Change", () => openEditor(apiKey));
  keyButton(actions, apiKey, apiKey.enabled ? "Disable" : "Enable", () => switchKey(apiKey));
  keyButton(actions, apiKey, "Delete", () => askBeforeDeleting(item, apiKey)).classList.add("danger");
  return item;
}

function keyDetails(apiKey, expired) {
  const details = [apiKey.redacted_value];
  if (apiKey.service) details.push("for a service");
  else details.push(apiKey.end_user === null ? "for one program" : `for ${apiKey.end_user}`);
  if (apiKey.models) details.push(`models ${apiKey.models.join(", ")}`);
  const rate = apiKey.rate_limit_per_minute;
  if (rate !== null) details.push(rate ? `${number(rate)} requests a minute` : "no limit of requests");
  const today = number(apiKey.tokens_today);
  if (apiKey.tokens_per_day === null) details.push(`${today} tokens today`);
  else details.push(`${today} of ${number(apiKey.tokens_per_day)} tokens today`);
  if (apiKey.expires_at !== null) details.push(`${expired ? "ended" : "until"} ${day(apiKey.expires_at - 1)}`);
  details.push(apiKey.last_used_at === null ? "never used" : `last used ${day(apiKey.last_used_at)}`);
  return details;
}

function keyButton(parent, apiKey, text, action) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.setAttribute("aria-label", `${text} the key ${apiKey.name}`);
  button.addEventListener("click", action);
  parent.append(button);
  return button;
}

async function switchKey(apiKey) {
  await changeKeys(
    () => sendKey("POST", `/${apiKey.id}`, { enabled: !apiKey.enabled }),
    `The key ${apiKey.name} is ${apiKey.enabled ? "disabled" : "enabled"}.`,
  );
  document.querySelector(`[data-key="${CSS.escape(apiKey.id)}"] button:nth-of-type(2)`)?.focus();
}

function askBeforeDeleting(item, apiKey) {
  if (item.querySelector(".sure")) return;
  const sure = document.createElement("div");
  sure.className = "sure";
  sure.setAttribute("role", "alert");
  const question = document.createElement("p");
  question.textContent = `Delete the key ${apiKey.name} for good? Clients that use it get an error.`;
  sure.append(question);
  keyButton(sure, apiKey, "Yes, delete", async () => {
    await changeKeys(() => sendKey("DELETE", `/${apiKey.id}`), `The key ${apiKey.name} is deleted.`);
    $("new-key").focus();
  }).classList.add("danger");
  keyButton(sure, apiKey, "Keep", () => {
    sure.remove();
    item.querySelector(".danger").focus();
  });
  item.append(sure);
  sure.querySelector("button:last-of-type").focus();
}

async function changeKeys(change, done) {
  showStatus("keys-status", "");
  try {
    await change();
    await reloadKeys();
    showStatus("keys-status", done);
  } catch (error) {
    showFailure("keys-status", error);
  }
}

// ---- Making and changing a key

// `apiKey`: null for a new one.
function openEditor(apiKey) {
  editedKey = apiKey;
  $("editor-title").textContent = apiKey ? `Change the key ${apiKey.name}` : "New key";
  $("editor-save").textContent = apiKey ? "Save" : "Make the key";
  $("key-name").value = apiKey?.name ?? "";
  $("key-rate").value = apiKey?.rate_limit_per_minute ?? "";
  $("key-tokens").value = apiKey?.tokens_per_day ?? "";
  $("key-expires").value = apiKey?.expires_at ? day(apiKey.expires_at - 1) : "";
  $("key-for").hidden = Boolean(apiKey);
  $("key-end-user").value = "";
  document.querySelector('input[name="key-for"][value="service"]').checked = true;
  showKeyFor();
  showModelBoxes(apiKey?.models ?? []);
  showStatus("editor-status", "");
  $("key-editor").hidden = false;
  $("new-key").setAttribute("aria-expanded", !apiKey);
  $("key-name").focus();
}

function closeEditor() {
  $("key-editor").hidden = true;
  $("editor-title").textContent = "";
  $("new-key").setAttribute("aria-expanded", false);
}

function showKeyFor() {
  const isForEndUser = chosen("key-for") === "end_user";
  $("key-end-user").disabled = !isForEndUser;
  $("key-end-user").required = isForEndUser;
}

function showModelBoxes(checked) {
  $("key-models").replaceChildren($("key-models").firstElementChild);
  const listed = [...document.querySelectorAll("#models input")].map((radio) => radio.value);
  for (const name of new Set([...listed, "cheshire-cat-embedder", ...checked])) {
    const label = document.createElement("label");
    const box = document.createElement("input");
    label.className = "check";
    box.type = "checkbox";
    box.value = name;
    box.checked = checked.includes(name);
    box.autocomplete = "off";
    label.append(box);
    add(label, "", name);
    $("key-models").append(label);
  }
}

function editedFields() {
  const numberOrNull = (id) => ($(id).value === "" ? null : Number($(id).value));
  const models = [...document.querySelectorAll("#key-models input:checked")].map((box) => box.value);
  const fields = {
    name: $("key-name").value.trim(),
    rate_limit_per_minute: numberOrNull("key-rate"),
    tokens_per_day: numberOrNull("key-tokens"),
    expires_at: $("key-expires").value ? Date.parse(`${$("key-expires").value}T00:00:00Z`) / 1000 + 86400 : null,
    models: models.length ? models : null,
  };
  if (editedKey) return fields;
  const kind = chosen("key-for");
  if (kind === "service") fields.service = true;
  if (kind === "end_user") fields.end_user = $("key-end-user").value;
  return fields;
}

async function saveKey() {
  showStatus("editor-status", "");
  $("editor-save").disabled = true;
  try {
    const saved = await sendKey("POST", editedKey ? `/${editedKey.id}` : "", editedFields());
    await reloadKeys();
    closeEditor();
    if (editedKey) {
      showStatus("keys-status", `The key ${saved.name} is changed.`);
      $("new-key").focus();
    } else {
      showMadeKey(saved);
    }
  } catch (error) {
    showFailure("editor-status", error);
  } finally {
    $("editor-save").disabled = false;
  }
}

function showMadeKey(created) {
  $("made-title").textContent = `The key ${created.name} is made`;
  $("made-value").textContent = created.value;
  $("made").dataset.name = created.name;
  $("made").hidden = false;
  $("made").focus();
}

function hideMadeKey() {
  for (const id of ["made-title", "made-value"]) $(id).textContent = "";
  $("made").hidden = true;
}

function useMadeKey() {
  madeKey = { name: $("made").dataset.name, value: $("made-value").textContent };
  $("with-key").disabled = false;
  $("with-key").checked = true;
  showSettings();
  $("with-key").scrollIntoView({ block: "center" });
  $("with-key").focus();
}

$("new-key").addEventListener("click", () => ($("key-editor").hidden || editedKey ? openEditor(null) : closeEditor()));
$("key-for").addEventListener("change", showKeyFor);
$("key-editor").addEventListener("submit", (event) => {
  event.preventDefault();
  saveKey();
});
$("key-editor").addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  closeEditor();
  $("new-key").focus();
});
$("editor-cancel").addEventListener("click", () => {
  closeEditor();
  $("new-key").focus();
});
$("made-use").addEventListener("click", useMadeKey);
$("made-done").addEventListener("click", () => {
  hideMadeKey();
  $("new-key").focus();
});
$("more-keys").addEventListener("click", async () => {
  try {
    addKeys(await fetchKeys(key, knownKeys.at(-1).id));
  } catch (error) {
    showFailure("keys-status", error);
  }
});
