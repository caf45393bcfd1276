use bluenova_record::{PackRecord, Text};
use time::UtcDateTime;

/// A row as a battery of 16 cells makes it, with a value in every column.
pub fn sample_row(insert_time_utc: UtcDateTime, mcu_id: u32) -> PackRecord {
    PackRecord {
        n_units: Some(3),
        unit_rank: Some(2),
        cell_count: Some(16),
        cell_v: std::array::from_fn(|i| Some((3300 + 2 * i as u16) as f32 / 1000.0)),
        cell_t: std::array::from_fn(|i| Some(20 + i as i16 % 3)),
        v_pack: Some(53.017),
        i_pack: Some(-41.75),
        temp: Some(24),
        v_cell_min: Some(3.3),
        v_cell_max: Some(3.33),
        soc: Some(63),
        health: Some(97.25),
        errors: Some(Text::new("NONE")),
        system_state: Some(Text::new("NORMAL")),
        breaker: Some(Text::new("CLOSED")),
        charge_state: Some(Text::new("DISCHARGE")),
        energy_in: Some(900.25),
        energy_out: Some(812.5),
        adc_vp: Some(52.996),
        adc: std::array::from_fn(|i| Some((1613.5 + i as f32) / 1000.0)),
        bad_crc: 1,
        parse_fail: 2,
        bad_vcell: 3,
        ..PackRecord::new(insert_time_utc, mcu_id)
    }
}
