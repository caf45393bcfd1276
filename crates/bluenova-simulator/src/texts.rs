//! Every text of the simulated firmware.
//!
//! All of them are made up, since nobody has published what the real firmware prints here. Only
//! [`NO_ERRORS`], [`NORMAL`], [`CLOSED`] and [`DISCHARGE`] stand in the examples of what is known
//! of the protocol.

/// `Errors:` of a battery without any.
pub(crate) const NO_ERRORS: &str = "NONE";
/// `Errors:` of one that has an error.
pub(crate) const ERRORS: &str = "CELL_OVERVOLTAGE";
/// `System_State:` of a battery in service.
pub(crate) const NORMAL: &str = "NORMAL";
/// `Breaker:` of a battery in service.
pub(crate) const CLOSED: &str = "CLOSED";
/// `Breaker:` of one that has switched itself off.
pub(crate) const OPEN: &str = "OPEN";

/// `Charge State:`, and the number behind it, which belongs to no field.
pub(crate) const IDLE: (&str, &str) = ("IDLE", " (0)");
/// At constant current.
pub(crate) const CHARGE: (&str, &str) = ("CHARGE", " (1)");
/// At constant voltage, near full.
pub(crate) const TAPER: (&str, &str) = ("TAPER", " (2)");
/// The household draws on the battery.
pub(crate) const DISCHARGE: (&str, &str) = ("DISCHARGE", " (3)");

/// What follows the number of units.
pub(crate) const UNIT_COUNT_TAIL: &str = ", mode=AUTO)";
/// What follows a bad frame; each `#` becomes a digit.
pub(crate) const BAD_CRC_TAIL: &str = " on cell bus, got ####";
/// What follows an unparsable frame; each `#` becomes a digit.
pub(crate) const PARSE_FAIL_TAIL: &str = " at byte #";
/// What follows a rejected reading; each `#` becomes a digit.
pub(crate) const REJECT_TAIL: &str = "V: 6#### T: 2#";

/// Lines that mean nothing to a listener; each `#` becomes a digit.
pub(crate) const NOISE: [&str; 12] = [
    "INFO: loop ### us, max #### us",
    "DEBUG: CAN tx 0x351 len 8 ok",
    "DEBUG: CAN tx 0x355 len 4 ok",
    "DEBUG: CAN tx 0x356 len 6 ok",
    "DEBUG: CAN rx 0x305 age ## ms",
    "INFO: heap ##### free",
    "DEBUG: cell bus poll ### ms",
    "--- CELLS ---",
    "INFO: rank token seen after ## ms",
    "DEBUG: OLED refresh",
    "INFO: wifi rssi -## dBm",
    "DEBUG: watchdog fed",
];
