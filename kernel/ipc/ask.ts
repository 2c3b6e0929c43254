// Owns the raw request to something that is no service of ours: the broker's own subjects.
import { randomBytes } from "node:crypto";
import { SomaError } from "../abi/errors.ts";
import { subjects } from "../abi/subjects.ts";
import type { Bus, Message, Subscription } from "./bus.ts";

/** The body of the answer; EIO when nobody answers within `ms`. */
export async function ask(bus: Bus, subject: string, body: Uint8Array, ms = 5_000): Promise<Uint8Array> {
  const inbox = `${subjects.inbox(bus.name)}.${randomBytes(8).toString("hex")}`;
  let subscription: Subscription | undefined;
  let timer: NodeJS.Timeout | undefined;
  try {
    const answer = await new Promise<Message>((resolve, reject) => {
      const fail = (why: string) => reject(new SomaError("EIO", `the broker ${why} ${subject}: see its log`));
      subscription = bus.subscribe(inbox, (message) => (message.status === 503 ? fail("has no") : resolve(message)));
      timer = setTimeout(() => fail("did not answer"), ms);
      bus.publish(subject, body, {}, inbox);
    });
    return answer.data;
  } finally {
    clearTimeout(timer);
    subscription?.unsubscribe();
  }
}
