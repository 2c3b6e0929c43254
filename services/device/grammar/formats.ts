// Owns what strings of a format look like: patterns of texts that are certainly of it, not of all that are.

const DATE = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])";
const TIME = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-](0[0-9]|1[0-3]):[0-5][0-9])";
const LABEL = "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?";
const HOST = `${LABEL}(\\.${LABEL}){0,3}\\.[a-z]{2,6}`;
const BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
const HEX = (digits: number) => `[0-9a-f]{${digits}}`;

/** By JSON Schema's name of it. */
export const FORMATS: Readonly<Record<string, string>> = {
  date: `^${DATE}$`,
  time: `^${TIME}$`,
  "date-time": `^${DATE}T${TIME}$`,
  email: `^[a-z0-9_]{1,20}(\\.[a-z0-9_]{1,20}){0,2}@${HOST}$`,
  hostname: `^${HOST}$`,
  ipv4: `^${BYTE}(\\.${BYTE}){3}$`,
  uuid: `^${HEX(8)}-${HEX(4)}-4${HEX(3)}-[89ab]${HEX(3)}-${HEX(12)}$`,
  uri: `^https?://${HOST}(/[a-z0-9_.~-]{1,20}){0,6}/?$`,
};
