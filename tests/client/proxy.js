/** A proxy before a server, which can keep WebSockets out. */

import { once } from "node:events";
import { createServer, request as forward } from "node:http";
import { connect } from "node:net";

export class Proxy {
  /** Whether upgrades reach the server; else they are refused. */
  upgrades = false;
  #server;
  #target;

  /** @param {string} target the server's root */
  constructor(target) {
    this.#target = new URL(target);
    this.#server = createServer((asked, answer) => this.#pass(asked, answer));
    this.#server.on("upgrade", (asked, socket) => this.#upgrade(asked, socket));
  }

  /** Its own root, once it listens. */
  async listen() {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    const { port } = /** @type {import("node:net").AddressInfo} */ (this.#server.address());
    return `http://127.0.0.1:${port}`;
  }

  close() {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  /**
   * @param {import("node:http").IncomingMessage} asked
   * @param {import("node:http").ServerResponse} answer
   */
  #pass(asked, answer) {
    const { hostname, port } = this.#target;
    const { method, url, headers } = asked;
    const passed = forward({ hostname, port, method, path: url, headers }, (given) => {
      answer.writeHead(given.statusCode ?? 502, given.headers);
      given.pipe(answer);
      given.on("close", () => answer.end());
    });
    passed.on("error", () => answer.destroy());
    answer.on("close", () => passed.destroy());
    asked.pipe(passed);
  }

  /**
   * @param {import("node:http").IncomingMessage} asked
   * @param {import("node:stream").Duplex} socket
   */
  #upgrade(asked, socket) {
    if (!this.upgrades) {
      socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
      return;
    }
    const server = connect(Number(this.#target.port), this.#target.hostname);
    const fields = asked.rawHeaders.map((text, index) => text + (index % 2 ? "\r\n" : ": "));
    server.write(`GET ${asked.url} HTTP/1.1\r\n${fields.join("")}\r\n`);
    server.pipe(socket).pipe(server);
    for (const end of [server, socket]) {
      end.on("error", () => {
        server.destroy();
        socket.destroy();
      });
    }
  }
}
