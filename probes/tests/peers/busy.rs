//! Burns a CPU: nearly all of it in `hot`, some calls below `main`.

use std::hint::black_box;

struct Worker<T>(T);

impl<T: Into<u64> + Copy> Worker<T> {
    #[inline(never)]
    fn hot(&self) -> u64 {
        let mut sum: u64 = self.0.into();
        for _ in 0..20_000 {
            sum = sum.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(sum >> 33);
        }
        black_box(sum)
    }

    #[inline(never)]
    fn middle(&self, depth: u32) -> u64 {
        let sum = if depth > 0 { self.middle(black_box(depth - 1)) } else { self.hot() };
        black_box(sum ^ 1)
    }
}

fn main() {
    println!("ready");
    std::thread::spawn(|| {
        let worker = Worker(black_box(7_u32));
        loop {
            black_box(worker.middle(black_box(3)));
        }
    })
    .join()
    .expect("it never ends");
}
