// The conversations of this browser: kept in its IndexedDB, listed, opened, deleted. `props.value` is the one on the page.
// Titles are a user's or a model's words: they reach the document as text only.
const DATABASE = "kwen", STORE = "conversations", CURRENT = "kwen-conversation";
const deleted = new Set();
let opened;

function database() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

async function ask(mode, question) {
  const store = (await database()).transaction(STORE, mode).objectStore(STORE);
  const request = question(store);
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function open(conversation) {
  props.value = conversation;
  if (conversation) localStorage.setItem(CURRENT, conversation.id);
  else localStorage.removeItem(CURRENT);
  trigger("select");
  draw();
  window.kwenCloseOnPhone();
}

async function remove(id) {
  deleted.add(id);
  await ask("readwrite", (store) => store.delete(id));
  trigger("delete", { id });
  if (props.value?.id === id) open(null);
  else draw();
}

async function draw() {
  const all = await ask("readonly", (store) => store.getAll());
  all.sort((a, b) => b.updated - a.updated);
  const items = all.map((conversation) => {
    const item = document.createElement("li");
    const choose = document.createElement("button");
    choose.type = "button";
    choose.className = "kwen-open";
    choose.textContent = conversation.title || "Untitled";
    choose.title = new Date(conversation.updated * 1000).toLocaleString();
    choose.onclick = async () => {
      if (conversation.id !== props.value?.id) open(await ask("readonly", (store) => store.get(conversation.id)));
      else window.kwenCloseOnPhone();
    };
    if (conversation.id === props.value?.id) item.setAttribute("aria-current", "true");
    const forget = document.createElement("button");
    forget.type = "button";
    forget.className = "kwen-delete";
    forget.textContent = "×";
    forget.title = "Delete";
    forget.setAttribute("aria-label", "Delete " + choose.textContent);
    forget.onclick = () => remove(conversation.id);
    item.append(choose, forget);
    return item;
  });
  element.querySelector(".kwen-list").replaceChildren(...items);
}

// A conversation as the server knows it now; current: it is the one on the page.
window.kwenKeep = async (conversation, current) => {
  if (deleted.has(conversation.id)) return;
  if (current) {
    props.value = conversation;
    localStorage.setItem(CURRENT, conversation.id);
  }
  await ask("readwrite", (store) => store.put(conversation));
  draw();
};

element.querySelector(".kwen-new").onclick = () => open(null);
element.querySelector(".kwen-theme").onclick = () => window.kwenSwitchTheme();
(async () => {
  setTimeout(() => {
    window.kwenNameToggles();
    window.kwenCloseOnPhone();
  });
  const last = localStorage.getItem(CURRENT);
  const conversation = last && (await ask("readonly", (store) => store.get(last)));
  if (conversation) open(conversation);
  else draw();
})();
