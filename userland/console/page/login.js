// Owns the way in: the token that follows # in the address, or typed.
import { html } from "htm/preact";
import { useState } from "preact/hooks";
import { open, post } from "./live.js";

/** Logs in by the address, if it has a token, which is then taken out of it and of the history. */
export async function enterByAddress() {
  const token = /^#token=([\w-]+)$/.exec(location.hash)?.[1];
  if (token === undefined) return;
  history.replaceState(null, "", "/");
  await post("/login", { token }).catch(() => {});
}

export function Login() {
  const [problem, setProblem] = useState("");
  const submit = async (event) => {
    event.preventDefault();
    const typed = new FormData(event.target).get("token").trim();
    try {
      // The whole address does as well.
      await post("/login", { token: typed.replace(/^.*#token=/, "") });
      open.value = true;
    } catch (error) {
      setProblem(error.message);
    }
  };
  return html`<main class="login">
    <h1>Soma</h1>
    <form onSubmit=${submit}>
      <label>Token, as "soma console" printed it <input name="token" type="password" autocomplete="off" required autofocus /></label>
      ${problem && html`<p class="problem" role="alert">${problem}</p>`}
      <p><button class="main">Log in</button></p>
    </form>
  </main>`;
}
