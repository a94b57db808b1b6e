//! Each way in which servers accept connections, with each engine and user.

/// A test for each shape, named after it, which calls `$check` with the arguments and listeners
/// of the C server.
macro_rules! test_each_shape {
    ($check:ident) => {
        tests_of_shapes! { $check
            one_thread { [] on [V4], ["call=accept4"] on [V4, V4] }
            // Each is blocked in accept as a tracer attaches; the connection that ends it counts.
            threads_that_block_in_accept {
                ["pool=8"] on [V4], ["pool=8", "call=accept4"] on [V4, V4]
            }
            threads_that_all_wake_for_each_connection { ["storm=6"] on [V4] }
            a_thread_per_connection { ["thread"] on [V4] }
            threads_that_come_and_go { ["churn=6"] on [V4, V4] }
            threads_that_block_all_signals {
                ["pool=4", "block"] on [V4],
                ["churn=4", "block"] on [V4],
                ["thread", "block"] on [V4]
            }
            a_process_per_connection { ["fork"] on [V4] }
            a_vforked_process_per_connection { ["vfork"] on [V4] }
            processes_that_block_in_accept { ["prefork=3"] on [V4, V4] }
            threads_whose_first_has_ended { ["leaderless=3"] on [V4] }
            a_server_that_executes_itself_again {
                ["exec=11"] on [V4], ["exec=11", "idle=3"] on [V4]
            }
            connections_closed_at_once { ["mute"] on [V4] }
        }
    };
}

macro_rules! tests_of_shapes {
    ($check:ident $(
        $name:ident { $([$($argument:literal),*] on [$($listens:ident),*]),* }
    )*) => { $(
        #[test]
        fn $name() {
            $($check(&[$($argument),*], &[$(Listens::$listens),*]);)*
        }
    )* };
}
