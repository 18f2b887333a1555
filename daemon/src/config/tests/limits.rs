//! What times, sizes, limits and addresses mean.

use std::{path::PathBuf, time::Duration};

use stockade_policy::Limit;

use super::{
    Imagined,
    meanings::{SMALLEST, only_pool, pool},
    read,
};
use crate::config::resolved::{CgroupLimits, Deadlines, Listen, Scale, SocketOwner};

pub(super) fn networks(texts: &[&str]) -> Vec<ipnet::IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn other_machines_may_be_allowed_to_connect() {
    let text = format!(
        "{}allowed-clients = [\"192.0.2.7\", \"10.0.0.0/8\", \"2001:db8::/32\", \"::ffff:198.51.100.0/120\"]\n",
        SMALLEST.replace("unix:/run/blog.sock", "0.0.0.0:9000")
    );
    let pool = only_pool(&text, &Imagined::root());
    assert_eq!(
        pool.allowed_clients,
        networks(&[
            "192.0.2.7/32",
            "10.0.0.0/8",
            "2001:db8::/32",
            "198.51.100.0/24"
        ])
    );
    // those of `[defaults]` do for it, and are no matter to a pool that has a unix socket
    let text = format!(
        "[defaults]\nallowed-clients = [\"10.0.0.0/8\"]\n{}\n{}",
        SMALLEST.replace("unix:/run/blog.sock", "[::]:9000"),
        SMALLEST.replace("[pool.blog]", "[pool.shop]")
    );
    let config = read(&text, &Imagined::root()).unwrap();
    assert_eq!(config.pools[0].allowed_clients, networks(&["10.0.0.0/8"]));
}

#[test]
fn times_of_responses_and_connections_are_what_is_said() {
    let text = format!(
        "{SMALLEST}response-timeout = \"off\"\ntotal-timeout = \"5m\"\nconnect-timeout = \"250ms\"\nsocket-timeout = 0\n\
         interrupt-timeout = \"2s\"\ndeadlock-timeout = \"90s\"\n"
    );
    let pool = only_pool(&text, &Imagined::root());
    assert_eq!(
        pool.deadlines,
        Deadlines {
            response_timeout: Limit::OFF,
            total_timeout: Limit::of(Duration::from_secs(300)),
            connect_timeout: Duration::from_millis(250),
            socket_timeout: Limit::OFF,
            interrupt_timeout: Limit::of(Duration::from_secs(2)),
            deadlock_timeout: Limit::of(Duration::from_secs(90)),
        }
    );
}

#[test]
fn only_threads_of_python_have_an_interpreter_that_may_hang() {
    let defaults = "[defaults]\ndeadlock-timeout = \"5s\"\ninterrupt-timeout = \"1s\"\n";
    for application in [
        "command = [\"php-cgi\"]",
        "asgi = \"blog.asgi:application\"",
        "wsgi = \"blog.wsgi:application\"\nconcurrency = \"gevent\"",
    ] {
        let text = format!(
            "{defaults}[pool.forms]\nlisten = [\"unix:/run/forms.sock\"]\nuser = \"blog\"\n{application}\n"
        );
        let pool = only_pool(&text, &Imagined::root());
        let Deadlines {
            interrupt_timeout,
            deadlock_timeout,
            ..
        } = pool.deadlines;
        let both = (interrupt_timeout, deadlock_timeout);
        assert_eq!(both, (Limit::OFF, Limit::OFF), "{application}");
    }
    let pool = only_pool(&format!("{defaults}{SMALLEST}"), &Imagined::root());
    assert_eq!(
        pool.deadlines.deadlock_timeout,
        Limit::of(Duration::from_secs(5))
    );
    let pool = only_pool(
        &format!("{SMALLEST}deadlock-timeout = \"off\"\ninterrupt-timeout = \"0s\"\n"),
        &Imagined::root(),
    );
    assert_eq!(pool.deadlines.deadlock_timeout, Limit::OFF);
    assert_eq!(pool.deadlines.interrupt_timeout, Limit::OFF);
}

#[test]
fn limits_are_switched_off() {
    for off in ["\"off\"", "0", "\"0s\"", "\"0ms\""] {
        let pool = pool(&format!("request-timeout = {off}"));
        assert_eq!(pool.request_timeout, Limit::OFF, "{off}");
        assert_eq!(pool.graceful_timeout, Limit::OFF, "{off}");
    }
    assert_eq!(pool("maximum-requests = \"off\"").wear.maximum_requests, 0);
    assert_eq!(
        pool("maximum-memory = \"512MiB\"").wear.maximum_memory,
        Some(512 << 20)
    );
    assert_eq!(pool("maximum-memory = 0").wear.maximum_memory, None);
    let limit = pool("cpu-time-limit = \"1h\"").wear.cpu_time_limit;
    assert_eq!(limit, Limit::of(Duration::from_secs(3600)));
    assert_eq!(pool("queue-limit = 0").queue_limit, 0);
}

#[test]
fn times_have_units() {
    for (text, milliseconds) in [
        ("250ms", 250),
        ("30s", 30_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("8760h", 31_536_000_000),
    ] {
        let pool = pool(&format!("request-timeout = {text:?}"));
        let expected = Limit::of(Duration::from_millis(milliseconds));
        assert_eq!(pool.request_timeout, expected, "{text}");
    }
    assert_eq!(
        pool("shutdown-timeout = \"0s\"").shutdown_timeout,
        Duration::ZERO
    );
}

#[test]
fn sizes_have_units_and_may_be_switched_off() {
    for (size, expected) in [("512B", 512), ("10KiB", 10_240), ("2 MiB", 2 << 20)] {
        let bytes = pool(&format!("request-buffer-size = \"{size}\"")).bytes;
        assert_eq!(bytes.request_buffer_size, expected, "{size}");
    }
    assert_eq!(pool("request-buffer-size = 0").bytes.request_buffer_size, 0);
    assert_eq!(pool("spool-limit = \"off\"").bytes.spool_limit, None);
    assert_eq!(
        pool("request-body-limit = \"8MiB\"")
            .bytes
            .request_body_limit,
        Some(8 << 20)
    );
    assert_eq!(
        pool("request-body-limit = 0").bytes.request_body_limit,
        None
    );
}

#[test]
fn what_workers_use_together_is_limited_or_is_not() {
    let none = CgroupLimits::default();
    assert_eq!(pool("").cgroup, none);
    assert_eq!(
        pool("cgroup = { memory-max = \"1GiB\", cpu-max = \"150%\", pids-max = \"off\" }\n").cgroup,
        CgroupLimits {
            memory_max: Some(1 << 30),
            cpu_max: Some(150),
            ..none
        }
    );
    // as a whole: nothing of the defaults is mixed in
    let defaults = "[defaults.cgroup]\nmemory-high = \"900MiB\"\ncpu-weight = 50\n";
    let with =
        |own: &str| only_pool(&format!("{defaults}{SMALLEST}{own}"), &Imagined::root()).cgroup;
    assert_eq!(
        with(""),
        CgroupLimits {
            memory_high: Some(900 << 20),
            cpu_weight: Some(50),
            ..none
        }
    );
    assert_eq!(
        with("cgroup.pids-max = 200\n"),
        CgroupLimits {
            pids_max: Some(200),
            ..none
        }
    );
    assert_eq!(with("cgroup = {}\n"), none);
}

#[test]
fn a_folder_for_bodies_is_found_beside_the_file() {
    assert_eq!(
        pool("spool-dir = \"here\"").bytes.spool_dir,
        PathBuf::from("/etc/stockade/here")
    );
}

#[test]
fn addresses_of_every_kind() {
    let pool = only_pool(
        "[pool.blog]
        listen = [\"unix:here/blog.sock\", \"unix:/run/./blog.sock\", \"127.0.0.1:9001\", \"localhost:9002\", \"[::1]:9003\"]
        user = \"blog\"
        command = [\"php-cgi\"]",
        &Imagined::root(),
    );
    assert_eq!(
        pool.listen,
        [
            Listen::Unix(PathBuf::from("/etc/stockade/here/blog.sock")),
            Listen::Unix(PathBuf::from("/run/blog.sock")),
            Listen::Tcp("127.0.0.1:9001".parse().unwrap()),
            Listen::Tcp("127.0.0.1:9002".parse().unwrap()),
            Listen::Tcp("[::1]:9003".parse().unwrap()),
        ]
    );
}

#[test]
fn sockets_may_be_somebody_elses() {
    let keys = "socket-user = \"root\"\nsocket-group = \"www-data\"\nsocket-mode = \"0600\"\n";
    let expected = |uid, gid| SocketOwner {
        uid,
        gid,
        mode: 0o600,
    };
    assert_eq!(pool(keys).socket, expected(Some(0), Some(33)));
    // a group of one's own can be given without root
    let text = format!("{SMALLEST}socket-group = \"www-data\"\nsocket-mode = \"600\"\n");
    let pool = only_pool(&text, &Imagined::blog());
    assert_eq!(pool.socket, expected(None, Some(33)));
}

#[test]
fn the_number_of_workers_may_follow_the_load() {
    let machine = Imagined::root();
    let scaled = |text: &str| only_pool(&format!("{SMALLEST}{text}"), &machine);
    let pool = scaled("[pool.blog.scale]\n");
    let usual = Scale {
        minimum: 1,
        maximum: 10,
        spare: 1,
        queue_wait: Duration::from_millis(50),
        idle_timeout: Duration::from_secs(60),
    };
    assert_eq!((pool.scale, pool.processes), (Some(usual), 10));
    let pool = scaled("scale = { minimum = 0, maximum = 3, queue-wait = \"1s\" }\n");
    let on_demand = Scale {
        minimum: 0,
        maximum: 3,
        spare: 0,
        queue_wait: Duration::from_secs(1),
        ..usual
    };
    assert_eq!((pool.scale, pool.processes), (Some(on_demand), 3));
    assert_eq!((scaled("").scale, scaled("").processes), (None, 5));
}

#[test]
fn what_a_pool_says_of_its_workers_counts_not_what_the_defaults_say() {
    let machine = Imagined::root();
    let with = |defaults: &str, own: &str| {
        only_pool(
            &format!("[defaults]\n{defaults}\n{SMALLEST}{own}"),
            &machine,
        )
    };
    let pool = with("scale = { maximum = 7, spare = 3 }", "processes = 2\n");
    assert_eq!((pool.scale, pool.processes), (None, 2));
    let pool = with("scale = { maximum = 7, spare = 3 }", "");
    assert_eq!(
        pool.scale.map(|scale| (scale.maximum, scale.spare)),
        Some((7, 3))
    );
    // as a whole: nothing is mixed
    let pool = with(
        "scale = { maximum = 7, spare = 3 }",
        "scale = { minimum = 2 }\n",
    );
    assert_eq!(
        pool.scale.map(|scale| (scale.maximum, scale.spare)),
        Some((10, 1))
    );
    let pool = with("processes = 2", "scale = { minimum = 2 }\n");
    assert_eq!(pool.scale.map(|scale| scale.maximum), Some(10));
    let pool = with("reload = { surge = 2 }", "");
    assert_eq!(pool.renewal.surge, 2);
}

#[test]
fn a_part_of_the_workers_is_rounded_up() {
    for (text, surge) in [
        ("", 1),
        ("processes = 10\nreload = { surge = \"25%\" }\n", 3),
        ("processes = 10\nreload = { surge = \"1%\" }\n", 1),
        (
            "reload = { surge = \"100%\" }\nscale = { maximum = 8 }\n",
            8,
        ),
        ("reload = { surge = 4 }\n", 4),
    ] {
        assert_eq!(pool(text).renewal.surge, surge, "{text}");
    }
}
