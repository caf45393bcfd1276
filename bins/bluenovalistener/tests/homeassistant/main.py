"""Home Assistant, a broker, two simulated batteries and the listener, all of them real.

usage: main.py ROOT PROGRAMS PICTURE

ROOT is a root directory of Debian with Home Assistant, PROGRAMS the directory of the listener and
the simulator; PICTURE is where a picture of a battery's page is left. It runs in namespaces of its
own, so that ports are free, nothing reaches the internet, and all ends with it.
"""

import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import expected
from home_assistant import HomeAssistant
from picture import take_picture
from waiting import wait_until

BROKER_PORT = 1883
ATTIC = "attic=127.0.0.1:9001"
CELLAR = "cellar=127.0.0.1:9002"


def step(what):
    print(f"== {what}", flush=True)


class House:
    """The programs, and what is asked of them."""

    def __init__(self, root, programs, directory):
        self.programs = programs
        self.directory = directory
        self.database = directory / "rows.sqlite"
        self.home_assistant = HomeAssistant(root, directory / "config")
        self.listener = None
        configuration = directory / "mosquitto.conf"
        configuration.write_text(
            f"listener {BROKER_PORT} 127.0.0.1\nallow_anonymous true\nlog_type all\n"
        )
        self.broker = self.start("/usr/sbin/mosquitto", "-c", configuration)
        self.attic = self.simulate(9001, seed=1)
        self.cellar = self.simulate(9002, seed=2)

    def start(self, *command):
        with open(self.directory / f"{Path(command[0]).name}.log", "a") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def simulate(self, port, seed):
        program = self.programs / "bluenova-sim"
        return self.start(program, "--listen", f"127.0.0.1:{port}", "--seed", str(seed))

    def broker_log(self):
        return (self.directory / "mosquitto.log").read_text()

    def listen(self, *batteries):
        options = ["-i", "2", "-d", f"sqlite:{self.database}"]
        options += ["--mqtt", f"mqtt://127.0.0.1:{BROKER_PORT}"]
        for battery in batteries:
            options += ["-b", battery]
        self.listener = self.start(self.programs / "bluenovalistener", *options)

    def end_listener(self, sign):
        self.listener.send_signal(sign)
        self.listener.wait()

    def row(self, mcu_id, time):
        """The row of a battery at a time, by column; None if it isn't there."""
        database = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        database.row_factory = sqlite3.Row
        with database:
            rows = database.execute("SELECT * FROM battery_pack WHERE mcu_id = ?", [mcu_id])
            found = [dict(row) for row in rows]
        database.close()
        return next((r for r in found if expected.time_of(r["insert_time_utc"]) == time), None)

    def states(self, device):
        """The states of a device's entities, by the last part of their unique IDs."""
        identifier = device["identifiers"][0][1]
        entities = self.home_assistant.entities()
        states = self.home_assistant.states()
        return {
            entity["unique_id"].removeprefix(f"{identifier}_"): states.get(entity["entity_id"])
            for entity in entities
            if entity["device_id"] == device["id"]
        }

    def devices(self, *names):
        """Waits until exactly these devices are there, and gives them by name."""
        def are_there():
            devices = self.home_assistant.devices()
            return devices if set(devices) == set(names) else None

        return wait_until(f"the devices are {', '.join(names)}", are_there)

    def check_entities_of(self, device):
        """No other device has left an entity."""
        found = {entity["device_id"] for entity in self.home_assistant.entities()}
        assert found == {device["id"]}, found

    def wait_for_values(self, name, device):
        wait_until(f"{name} has values", lambda: is_available(self.states(device)))

    def wait_for_silence(self, name, device):
        wait_until(f"{name} is unavailable", lambda: is_unavailable(self.states(device)))


def is_available(states):
    return all(state and state["state"] != "unavailable" for state in states.values())


def is_unavailable(states):
    return all(state and state["state"] == "unavailable" for state in states.values())


def check_battery(house, name, device):
    """The device says which battery it is; its entities have the row's values and the right
    classes."""
    assert device["manufacturer"] == "BlueNova", device
    house.wait_for_values(name, device)
    states = house.states(device)
    all_classes = {**expected.MAIN, **expected.DETAILS}
    shown = {key: expected.classes(state) for key, state in states.items()}
    assert shown == all_classes, difference(shown, all_classes)
    mcu_id = int(device["serial_number"], 16)
    time = expected.time_of(states["insert_time_utc"]["state"].removesuffix("+00:00"))
    row = wait_until(f"{name} has the row of {time}", lambda: house.row(mcu_id, time))
    values = expected.states(row)
    # The journal's own number of the row, and what the device has as its serial number.
    del values["sequence"], values["mcu_id"]
    assert set(values) == set(states), set(values) ^ set(states)
    wrong = {
        key: (states[key]["state"], value)
        for key, value in values.items()
        if not expected.is_equal(key, states[key]["state"], value)
    }
    assert not wrong, wrong
    return states


def check_bank(house, bank_device, batteries):
    """The bank has the sum of the batteries' power, and a mean of their charges."""
    house.wait_for_values("the bank", bank_device)
    shown = {key: expected.classes(state) for key, state in house.states(bank_device).items()}
    assert shown == expected.BANK, difference(shown, expected.BANK)

    def has_sum():
        shown = [house.states(it) for it in (bank_device, *batteries)]
        power, *powers = [it["power_w"]["state"] for it in shown]
        charge, *charges = [it["soc"]["state"] for it in shown]
        # While the states are read, values change; and some are unknown for an interval.
        if "unknown" in (power, charge, *powers, *charges):
            return False
        charges = [float(it) for it in charges]
        is_between = min(charges) - 1 <= float(charge) <= max(charges) + 1
        return is_between and abs(float(power) - sum(map(float, powers))) < 0.2

    wait_until("the bank has the sum of the power", has_sum)
    bank = {key: state["state"] for key, state in house.states(bank_device).items()}
    assert (bank["batteries"], bank["fresh"]) == ("2", "2"), bank


def difference(found, wanted):
    keys = found.keys() | wanted.keys()
    return {k: (found.get(k), wanted.get(k)) for k in keys if found.get(k) != wanted.get(k)}


def enable_all(home_assistant, device, main):
    """Only the main values are enabled; enables the others, as people do."""
    entities = [e for e in home_assistant.entities() if e["device_id"] == device["id"]]
    identifier = device["identifiers"][0][1]
    for entity in entities:
        is_main = entity["unique_id"].removeprefix(f"{identifier}_") in main
        assert (entity["disabled_by"] is None) == is_main, entity
        assert entity["entity_category"] == (None if is_main else "diagnostic"), entity
        if not is_main:
            home_assistant.call(
                "config/entity_registry/update", entity_id=entity["entity_id"], disabled_by=None
            )


def run(house, picture):
    home_assistant = house.home_assistant
    step("a first start: the batteries appear")
    home_assistant.start()
    home_assistant.add_broker(BROKER_PORT)
    house.listen(ATTIC, CELLAR)
    devices = house.devices("attic", "cellar", "BlueNova bank")
    attic, cellar, bank = devices["attic"], devices["cellar"], devices["BlueNova bank"]
    take_picture(home_assistant, attic, picture)

    step("Home Assistant is started again, with all entities enabled: the values are the rows'")
    enable_all(home_assistant, attic, expected.MAIN)
    enable_all(home_assistant, cellar, expected.MAIN)
    enable_all(home_assistant, bank, expected.BANK.keys() - {"batteries"})
    home_assistant.stop()
    home_assistant.start()
    assert house.devices("attic", "cellar", "BlueNova bank").keys() == devices.keys()
    states = check_battery(house, "attic", attic)
    assert states["soc"]["entity_id"] == "sensor.attic_soc", states["soc"]
    assert states["errors_present"]["entity_id"] == "binary_sensor.attic_errors_present"
    check_battery(house, "cellar", cellar)
    check_bank(house, bank, [attic, cellar])

    step("a battery falls silent, and returns")
    house.cellar.send_signal(signal.SIGSTOP)
    house.wait_for_silence("cellar", cellar)
    wait_until("the bank has one", lambda: house.states(bank)["fresh"]["state"] == "1")
    check_battery(house, "attic", attic)
    house.cellar.send_signal(signal.SIGCONT)
    check_battery(house, "cellar", cellar)

    step("the listener is killed, and started again")
    house.end_listener(signal.SIGKILL)
    for name, device in devices.items():
        house.wait_for_silence(name, device)
    house.listen(ATTIC, CELLAR)
    check_battery(house, "attic", attic)
    check_battery(house, "cellar", cellar)

    step("a battery is taken off the command line: it vanishes, and the bank")
    house.end_listener(signal.SIGTERM)
    house.listen(ATTIC)
    house.devices("attic")
    house.check_entities_of(attic)
    check_battery(house, "attic", attic)

    step("a battery is taken off while Home Assistant is away: it vanishes all the same")
    house.end_listener(signal.SIGTERM)
    house.listen(ATTIC, CELLAR)
    devices = house.devices("attic", "cellar", "BlueNova bank")
    home_assistant.stop()
    house.end_listener(signal.SIGTERM)
    house.listen(ATTIC)
    removal = f"device/{devices['cellar']['identifiers'][0][1]}/config', ... (0 bytes)"
    wait_until("cellar is removed from the broker", lambda: removal in house.broker_log())
    home_assistant.start()
    house.devices("attic")
    house.check_entities_of(devices["attic"])
    check_battery(house, "attic", devices["attic"])

    home_assistant.stop()
    complaints = home_assistant.complaints()
    assert not complaints, "\n".join(complaints)


def main():
    root, programs, picture = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory(dir=root / "tmp") as directory:
        house = House(root, programs, Path(directory))
        try:
            run(house, picture)
        except BaseException:
            for log in [*Path(directory).glob("*.log"), *house.home_assistant.logs]:
                print(f"== {log.name}", *log.read_text().splitlines()[-60:], sep="\n")
            raise
    print("all is well")


main()
