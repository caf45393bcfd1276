#!/usr/bin/env bash
# Checks the dashboards against the types and the names that Grafana publishes, and the alert rules
# against what Grafana's reader of them asks for. $1 is a directory for packages and for what is
# written on the way.
set -euo pipefail
source=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
npm install --no-save --no-audit --no-fund --ignore-scripts \
    @grafana/schema@13.2.3 @grafana/data@13.2.3 typescript@5.9 yaml@2 >&2
cp "$source"/{types.ts,names.cjs,alerts.cjs} .
for name in household fleet prometheus; do
    {
        echo 'import { Checked } from "./types";'
        printf 'export const dashboard: Checked = '
        cat "$source/../$name.json"
    } > "$name.ts"
done
npx --no-install tsc --noEmit --strict --skipLibCheck --exactOptionalPropertyTypes \
    --target es2022 --module nodenext --moduleResolution nodenext \
    types.ts household.ts fleet.ts prometheus.ts
node names.cjs "$source"/../{household,fleet,prometheus}.json
node alerts.cjs "$source"/../{alerts,alerts-postgresql}.yaml
for file in "$source"/../../packaging/{container/grafana/,debian/grafana/*/}*.yaml; do
    npx --no-install yaml valid --strict < "$file"
done
