// Hands what the server knows of a conversation to the history, as a plain copy.
watch("value", () => {
  const { conversation, current } = JSON.parse(JSON.stringify(props.value ?? {}));
  if (conversation) window.kwenKeep(conversation, current);
});
