// Installs hooks.js. Import this before anything that imports ts-mls, and import
// what imports ts-mls dynamically: a static import is linked before this runs.
import { register } from "node:module";

register("./hooks.js", import.meta.url);
