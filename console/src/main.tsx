import { render } from "preact";
import { App } from "./app";
import { start } from "./session";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/panels.css";

render(<App />, document.getElementById("app") as HTMLElement);
start();
