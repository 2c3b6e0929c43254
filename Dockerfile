# One image for every container of docker-compose.yml: what it becomes is its command. Source run by tsx, no build step.
FROM node:22-bookworm-slim
WORKDIR /app
ENV NODE_ENV=production
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --no-audit --no-fund
COPY . .
# Volumes take their owner from these: no container runs as root.
RUN ln -s /app/userland/shell/soma.mjs /usr/local/bin/soma && chmod 755 userland/shell/soma.mjs \
  && mkdir -p /soma/home /soma/keys /soma/init/broker /soma/init/auth /soma/init/memory /soma/init/device \
     /soma/init/scheduler /soma/init/model /soma/person /soma/launcher \
  && chown -R node:node /soma
ENV SOMA_HOME=/soma/home
USER node
CMD ["node", "--import", "tsx", "kernel/launcher/main.ts"]
