// Pieces of the document, and how they are filled.
//
// A battery's text goes to the page as the text of a node, never as markup.

const $ = (id) => document.getElementById(id);

function copyOf(template) {
  return $(template).content.firstElementChild.cloneNode(true);
}

/** Changes only what differs, so that selections last and there is no needless layout. */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function part(parent, name) {
  return parent.querySelector(`[data-is="${name}"]`);
}

function fill(parent, texts) {
  for (const [name, text] of Object.entries(texts)) {
    setText(part(parent, name), text);
  }
}

function fillPower(parent, watts) {
  const word = powerWord(watts);
  fill(parent, { power: power(watts), word });
  part(parent, "power").className = word;
}
