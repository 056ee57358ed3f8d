//! A run's state in the terminal, redrawn four times a second: for a person who watches.
//!
//! Drawn on standard error, so that standard output carries the report alone. The terminal is put back whatever happens.

use std::collections::VecDeque;
use std::io::{self, Stderr};
use std::sync::Arc;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge, Paragraph, Row, Sparkline, Table, Widget};
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

use super::report::{bytes, milliseconds};
use super::tally::{Look, Recorder};

const REDRAW: Duration = Duration::from_millis(250);
/// A look's numbers are those of the last second: fewer calls than that make percentiles jump.
const REDRAWS_A_LOOK: u32 = 4;
const HISTORY: usize = 200;

/// What is shown beside the measurements.
#[derive(Debug, Clone)]
pub struct Caption {
    pub title: String,
    pub begun: Instant,
    pub warm_up: Duration,
    pub planned: Duration,
    pub tenants: Vec<String>,
}

/// The terminal while it is ours. Dropped, it is as before.
struct Screen(Terminal<CrosstermBackend<Stderr>>);

impl Screen {
    fn take() -> io::Result<Screen> {
        enable_raw_mode()?;
        execute!(io::stderr(), EnterAlternateScreen)?;
        Ok(Screen(Terminal::new(CrosstermBackend::new(io::stderr()))?))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = disable_raw_mode();
        let _ = execute!(io::stderr(), LeaveAlternateScreen);
        let _ = self.0.show_cursor();
    }
}

/// Draws until it is told to stop. Ctrl-C and `q` cancel `stop`: in raw mode the terminal makes no signal of it.
pub async fn show(
    recorder: Arc<Recorder>,
    caption: Caption,
    stop: CancellationToken,
    done: CancellationToken,
) -> io::Result<()> {
    let mut screen = Screen::take()?;
    let mut ticks = interval(REDRAW);
    let mut view = View { caption, look: recorder.look(), rates: VecDeque::new(), slowest: VecDeque::new() };
    for tick in 1_u32.. {
        tokio::select! {
            _ = ticks.tick() => {}
            () = done.cancelled() => return Ok(()),
        }
        if tick.is_multiple_of(REDRAWS_A_LOOK) {
            view.take(recorder.look());
        }
        while event::poll(Duration::ZERO)? {
            if is_the_end(&event::read()?) {
                stop.cancel();
            }
        }
        screen.0.draw(|frame| view.render(frame.area(), frame.buffer_mut()))?;
    }
    Ok(())
}

fn is_the_end(event: &Event) -> bool {
    let Some(key) = event.as_key_press_event() else {
        return false;
    };
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    matches!((key.code, control), (KeyCode::Char('c'), true) | (KeyCode::Char('q'), false))
}

struct View {
    caption: Caption,
    look: Look,
    /// Answers a second and p99 in microseconds, a look each, the newest last.
    rates: VecDeque<u64>,
    slowest: VecDeque<u64>,
}

impl View {
    fn take(&mut self, look: Look) {
        for (history, value) in
            [(&mut self.rates, look.recent_rate.round() as u64), (&mut self.slowest, look.recent_latency[2])]
        {
            history.push_back(value);
            while history.len() > HISTORY {
                history.pop_front();
            }
        }
        self.look = look;
    }

    fn render(&self, area: Rect, buffer: &mut Buffer) {
        let rows = [Constraint::Length(2), Constraint::Length(1), Constraint::Length(6)];
        let [title, gauge, numbers] = Layout::vertical(rows).areas(area);
        let below = Rect { y: area.y + 9, height: area.height.saturating_sub(9), ..area };
        Paragraph::new(vec![
            Line::styled(self.caption.title.as_str(), Modifier::BOLD),
            Line::styled("Ctrl-C or q ends it and reports what there is", Style::new().fg(Color::DarkGray)),
        ])
        .render(title, buffer);
        self.render_gauge(gauge, buffer);
        self.render_numbers(numbers, buffer);
        let [lines, lists] = Layout::vertical([Constraint::Length(7), Constraint::Min(0)]).areas(below);
        let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(lines);
        sparkline("answers a second", &self.rates, Color::Cyan, left, buffer);
        sparkline("p99 over time", &self.slowest, Color::Yellow, right, buffer);
        let [left, right] = Layout::horizontal([Constraint::Fill(2), Constraint::Fill(3)]).areas(lists);
        self.render_errors(left, buffer);
        self.render_tenants(right, buffer);
    }

    fn render_gauge(&self, area: Rect, buffer: &mut Buffer) {
        let elapsed = Instant::now() - self.caption.begun;
        let share = (elapsed.as_secs_f64() / self.caption.planned.as_secs_f64().max(1e-3)).min(1.0);
        let phase = match elapsed {
            elapsed if elapsed < self.caption.warm_up => "warm-up",
            elapsed if elapsed < self.caption.planned => "measuring",
            _ => "waiting for the last answers",
        };
        let label = format!("{phase}, {} of {} s", elapsed.as_secs(), self.caption.planned.as_secs());
        Gauge::default()
            .ratio(share)
            .label(label)
            .gauge_style(Style::new().fg(Color::Blue))
            .render(area, buffer);
    }

    fn render_numbers(&self, area: Rect, buffer: &mut Buffer) {
        let latency = |micros: [u64; 4]| micros.map(|micros| milliseconds(micros as f64 / 1000.0));
        let row = |name: &'static str, rate: String, failed: u64, latency: [String; 4]| {
            let style = if failed > 0 { Style::new().fg(Color::Red) } else { Style::new() };
            let [p50, p90, p99, max] = latency;
            Row::new([
                Span::raw(name),
                Span::raw(rate),
                Span::styled(failed.to_string(), style),
                Span::raw(p50),
                Span::raw(p90),
                Span::raw(p99),
                Span::raw(max),
            ])
        };
        let look = &self.look;
        let rows = [
            row(
                "last second",
                format!("{:.1}/s", look.recent_rate),
                look.recent_failed,
                latency(look.recent_latency),
            ),
            row("measured", look.counts.answered.to_string(), look.counts.failed(), latency(look.latency)),
        ];
        let title = format!(" {} in flight, {} received ", look.in_flight, bytes(look.counts.bytes as f64));
        let widths = [Constraint::Length(12), Constraint::Fill(1), Constraint::Length(7)];
        let widths = widths.into_iter().chain([Constraint::Fill(1); 4]);
        Table::new(rows, widths)
            .header(Row::new(["", "answered", "failed", "p50", "p90", "p99", "max"]).style(Modifier::DIM))
            .block(Block::bordered().title(title))
            .render(area, buffer);
    }

    fn render_errors(&self, area: Rect, buffer: &mut Buffer) {
        let mut errors: Vec<_> = self.look.counts.failures.iter().collect();
        errors.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let lines: Vec<Line<'_>> =
            errors.iter().map(|(failure, count)| Line::raw(format!("{count:>5} {failure}"))).collect();
        let lines = if lines.is_empty() { vec![Line::raw("none")] } else { lines };
        Paragraph::new(lines).block(Block::bordered().title(" errors ")).render(area, buffer);
    }

    /// The slowest tenants.
    fn render_tenants(&self, area: Rect, buffer: &mut Buffer) {
        let mut tenants: Vec<_> = self.caption.tenants.iter().zip(&self.look.tenants).collect();
        tenants.sort_by_key(|(_, (_, failed, p99))| std::cmp::Reverse((*failed, *p99)));
        let lines: Vec<Line<'_>> = tenants
            .iter()
            .take(area.height.into())
            .map(|(tenant, (answered, failed, p99))| {
                let p99 = milliseconds(*p99 as f64 / 1000.0);
                Line::raw(format!("{tenant:<16.16} {answered:>7} {failed:>5} {p99:>9}"))
            })
            .collect();
        let title = " tenants: answered, failed, p99 ";
        Paragraph::new(lines).block(Block::bordered().title(title)).render(area, buffer);
    }
}

fn sparkline(title: &str, history: &VecDeque<u64>, colour: Color, area: Rect, buffer: &mut Buffer) {
    let width = usize::from(area.width.saturating_sub(2));
    let shown: Vec<u64> = history.iter().skip(history.len().saturating_sub(width)).copied().collect();
    let block = Block::bordered().title(format!(" {title} "));
    Sparkline::default().data(shown).style(Style::new().fg(colour)).block(block).render(area, buffer);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loadtest::failure::Failure;
    use crate::loadtest::tally::Counts;

    #[test]
    fn everything_that_matters_is_seen_on_80_by_24() {
        let now = Instant::now();
        let failures = [(Failure::Timeout, 3), (Failure::Status { status: 503, code: Some(9104) }, 12)];
        let look = Look {
            at: now,
            in_flight: 17,
            counts: Counts { answered: 1234, records: 5000, bytes: 5_600_000, failures: failures.into() },
            latency: [3_140, 8_000, 48_200, 1_234_000],
            recent_latency: [3_000, 7_000, 50_000, 60_000],
            recent_rate: 49.8,
            recent_failed: 2,
            tenants: vec![(1200, 15, 48_200), (34, 0, 5_000)],
        };
        let caption = Caption {
            title: "2 tenants at 127.0.0.1:8443: 50/s of previews, HTTP/2".to_owned(),
            begun: now,
            warm_up: Duration::from_secs(5),
            planned: Duration::from_secs(35),
            tenants: vec!["OC_TOMA".to_owned(), "NORTHERN_U".to_owned()],
        };
        let mut view = View { caption, look: look.clone(), rates: VecDeque::new(), slowest: VecDeque::new() };
        (0..300).for_each(|_| view.take(look.clone()));
        let area = Rect::new(0, 0, 80, 24);
        let mut buffer = Buffer::empty(area);

        view.render(area, &mut buffer);

        let line = |y| (0..80).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        let screen: Vec<String> = (0..24).map(line).collect();
        let screen = screen.join("\n");
        for text in [
            "50/s of previews",
            "warm-up, 0 of 35 s",
            "17 in flight, 5.6 MB received",
            "49.8/s",
            "1234",
            "48.2 ms",
            "1.23 s",
            "12 503 with ErrorCode 9104",
            "OC_TOMA             1200    15   48.2 ms",
            "NORTHERN_U",
        ] {
            assert!(screen.contains(text), "{text} in\n{screen}");
        }
    }

    #[test]
    fn a_tiny_terminal_is_no_reason_to_panic() {
        let now = Instant::now();
        let recorder = Recorder::new(crate::loadtest::tally::Tally::new(1, now, Duration::from_secs(1)));
        let (second, caption) = (Duration::from_secs(1), String::new());
        let caption =
            Caption { title: caption, begun: now, warm_up: second, planned: second, tenants: vec![] };
        let view = View { caption, look: recorder.look(), rates: VecDeque::new(), slowest: VecDeque::new() };

        for (width, height) in [(0, 0), (1, 1), (10, 3), (200, 5)] {
            let area = Rect::new(0, 0, width, height);
            view.render(area, &mut Buffer::empty(area));
        }
    }
}
