//! What was measured, beside its bound.

#[derive(Default)]
pub struct Table(Vec<[String; 4]>);

impl Table {
    /// `reached`: whether the figure is within the bound, where there is one.
    pub fn add(&mut self, what: &str, measured: String, bound: &str, reached: Option<bool>) {
        let verdict = match reached {
            Some(true) => "reached",
            Some(false) => "MISSED",
            None => "",
        };
        println!("  {what}: {measured} {verdict}");
        self.0.push([what.to_owned(), measured, bound.to_owned(), verdict.to_owned()]);
    }

    pub fn print(&self) {
        println!("\n| what | measured | bound | |\n|---|---|---|---|");
        for row in &self.0 {
            println!("| {} |", row.join(" | "));
        }
    }
}
