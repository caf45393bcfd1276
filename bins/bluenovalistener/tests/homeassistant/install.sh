# Installs Home Assistant in the root directory of Debian in which this runs.
set -eu
python3 -m venv /opt/homeassistant
cd /opt/homeassistant
export PIP_CERT=/etc/ssl/certs/ca-certificates.crt
bin/pip install --quiet --no-cache-dir homeassistant
bin/python /opt/requirements.py >requirements.txt
bin/pip install --quiet --no-cache-dir --requirement requirements.txt \
    --constraint "$(echo lib/python3*/site-packages/homeassistant/package_constraints.txt)"
touch complete
