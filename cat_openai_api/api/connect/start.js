
// ---- Event handlers

$("base-url").textContent = baseUrl;
$("localhost").hidden = !/^(localhost|127\.[\d.]+|\[::1\])$/.test(location.hostname);
$("insecure").hidden = isSecureContext;
showChoices("models", ["cheshire-cat"], 0);
showChoices("clients", CLIENTS.map((client) => client.name), 0);
showSettings();

$("check").addEventListener("click", checkHealth);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) checkHealth();
});

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey($("key").value.trim());
});
$("show-key").addEventListener("click", () => {
  const shown = $("key").type === "password";
  $("key").type = shown ? "text" : "password";
  $("show-key").textContent = shown ? "Hide" : "Show";
  $("show-key").setAttribute("aria-pressed", shown);
});

for (const id of ["clients", "models", "with-key"]) $(id).addEventListener("change", showSettings);
for (const button of document.querySelectorAll("[data-copies]")) {
  button.addEventListener("click", () => copy(button));
}

$("chat-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("message").value;
  if (running || !text.trim()) return;
  $("message").value = "";
  $("message").focus();
  send(text);
});
$("message").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("chat-form").requestSubmit($("send").hidden ? null : $("send"));
});
$("stop").addEventListener("click", () => {
  running?.abort();
  $("message").focus();
});
$("new-chat").addEventListener("click", newChat);

checkHealth();
