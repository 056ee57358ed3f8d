//! Whole records as fixtures, and what a record's objects are.

use serde_json::Value;

use super::TestDatabase;

impl TestDatabase {
    /// The record that the documentation's sample answer shows: ticket 1-100013.
    pub async fn load_documented_sample(&self) {
        self.execute("DELETE FROM ticket_categories").await;
        self.execute(include_str!("../../../schema/documented_sample.sql")).await;
    }

    /// Leaves no column of the record model null, and has `tag` in every text column but tickets.
    pub async fn fill_every_column(&self, tag: &str) {
        self.execute(&format!("SET test.tag = '{tag}'")).await;
        self.execute(include_str!("fill_every_column.sql")).await;
    }
}

/// Every object of an answer with the name that `keys.json` has for it; what is null is left out.
pub fn objects(answer: &Value) -> Vec<(&'static str, &Value)> {
    let mut objects = vec![("answer", answer), ("state", &answer["state"])];
    for record in answer["records"].as_array().unwrap() {
        let vehicle = &record["vehicle"];
        objects.extend([
            ("violation", record),
            ("user", &record["user"]),
            ("vehicle", vehicle),
            ("location", &record["location"]),
            ("category", &record["category"]),
        ]);
        for name in ["make", "colour", "vehicle_type", "plate_type", "province"] {
            objects.push((name, &vehicle[name]));
        }
        objects.extend(list(&vehicle["drivers"]).map(|driver| ("driver", driver)));
        objects.extend(list(&record["attachments"]).map(|attachment| ("attachment", attachment)));
        for detail in list(&record["details"]) {
            objects.extend([("detail", detail), ("type", &detail["type"])]);
        }
    }
    objects.retain(|(_, object)| !object.is_null());
    objects
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// An object's keys, in the order in which they came.
pub fn keys(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}
