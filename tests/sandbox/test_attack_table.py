"""Every attack that is known, by name, with the tests that show what becomes of it.

A line without a test, or with one that is not there any more, fails here.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LAWS = HERE.parents[1] / "sandbox" / "testing.py"

HOST, FILES, COMPILER = (
    "test_attacks_on_the_host",
    "test_attacks_on_files",
    "test_attacks_on_the_compiler",
)

TABLE: dict[str, tuple[str, ...]] = {
    "infinite loop": ("testing.test_attacks_end_with_their_reason",
                      "testing.test_the_wall_clock_stops_what_fuel_does_not"),
    "spin in a start function": ("testing.test_attacks_while_opening_end_with_their_reason",),
    "memory.grow bomb": ("testing.test_memory_stops_at_its_limit",
                         f"{HOST}.test_a_table_or_memory_that_grows_without_end_is_refused_to_the_guest"),
    "declared memory or table over its limit": (
        "testing.test_attacks_while_opening_end_with_their_reason",),
    "several memories": (f"{HOST}.test_features_no_toolchain_needs_are_off",),
    "table.grow by a hundred million": (
        f"{HOST}.test_a_table_or_memory_that_grows_without_end_is_refused_to_the_guest",
        f"{HOST}.test_tables_grow_to_their_limit_and_no_further"),
    "GC heap bomb": (f"{HOST}.test_features_no_toolchain_needs_are_off",),
    "deep recursion, on the smallest stack too": (
        f"{HOST}.test_recursion_without_end_is_a_trap_on_every_stack",
        "test_wasmtime_engine.test_each_stack_size_holds"),
    "giant reply, pointer out of range or from the end": (
        f"{HOST}.test_a_reply_is_the_bytes_of_its_range_or_an_error",
        "testing.test_attacks_end_with_their_reason"),
    "host function that raises": (
        "test_wasmtime_engine.test_a_failing_host_function_is_a_host_error",),
    "host exceptions of many threads": (
        f"{HOST}.test_no_error_of_sixteen_threads_is_anothers",
        "test_wasmtime_engine.test_errors_never_cross_threads"),
    "host function re-entrancy": (
        f"{HOST}.test_a_host_function_that_calls_its_guest_is_refused",
        "test_wasmtime_engine.test_two_calls_at_once_are_refused"),
    "nested calls": (f"{HOST}.test_nested_calls_of_two_guests_keep_their_budgets",),
    "host-call flood": (f"{HOST}.test_a_flood_of_host_calls_is_paid_in_fuel",),
    "host call that never answers": (
        "test_process_guest.test_a_question_nobody_answers_ends_at_the_deadline",
        "test_questions.test_a_service_that_never_answers_ends_with_the_calls_deadline"),
    "huge argument of a host call": (
        f"{HOST}.test_huge_arguments_of_host_functions_are_refused",
        "test_host.test_any_two_numbers_are_a_range_or_a_bad_pointer"),
    "ungranted import": (
        f"{HOST}.test_what_is_not_granted_cannot_be_imported",
        f"{HOST}.test_an_engine_links_nothing_that_classification_would_refuse"),
    "climbing, absolute paths, symlinks, /proc": (f"{FILES}.test_no_path_leads_out",),
    "rename out, hard link to a symlink": (
        f"{FILES}.test_no_file_is_written_outside",
        f"{FILES}.test_a_hard_link_to_a_symlink_leads_nowhere"),
    "read-only folder: create, symlink, link, rename": (
        f"{FILES}.test_a_read_only_folder_stays_as_it_is",),
    "symlink left behind in a writable folder": (
        f"{FILES}.test_a_symlink_a_guest_leaves_behind_leads_nobody_out",),
    "disk fill": (f"{FILES}.test_a_file_stops_growing_at_its_limit",
                  "test_worker_limits.test_a_guest_cannot_fill_the_disk_with_one_file",
        "test_folder_quota.test_a_call_that_writes_too_much_is_killed",
        "test_folder_quota.test_many_small_files_are_too_much",
    ),
    "sparse file of a terabyte": (f"{FILES}.test_a_sparse_terabyte_is_refused",),
    "open files without end": (
        f"{FILES}.test_more_files_than_a_worker_may_open_is_the_guests_error",
        f"{FILES}.test_a_command_leaves_no_descriptor_open_in_its_worker"),
    "stdout flood": ("testing.test_command_attacks_end_with_their_reason",
                     "test_worker_pool.test_attacks_end_with_their_reason"),
    "environment and arguments": (
        f"{FILES}.test_nothing_of_the_host_is_in_arguments_and_environment",
        "test_worker_limits.test_workers_see_nothing_of_the_environment"),
    "sockets": (f"{FILES}.test_no_socket_is_there",),
    "sleep(3600)": ("testing.test_command_attacks_end_with_their_reason",
                    "test_sandbox_boundaries.test_the_deadline_ends_the_wait"),
    "FIFO in a folder": (
        f"{FILES}.test_a_fifo_made_while_a_guest_runs_ends_with_its_deadline",
        f"{FILES}.test_a_device_socket_or_fifo_in_a_folder_is_refused",
        "test_process_guest.test_one_that_does_not_end_is_ended"),
    "fork, subprocess, threads": (f"{HOST}.test_what_is_not_granted_cannot_be_imported",),
    "malformed modules": (
        f"{COMPILER}.test_every_byte_of_a_module_may_be_wrong",
        "test_module_preparation.test_mutated_modules_are_modules_or_one_typed_error",
        "test_module_preparation.test_random_bytes_are_one_typed_error"),
    "text as a module": (f"{COMPILER}.test_nothing_is_unpacked",
                         "test_module_preparation.test_what_is_no_module_is_refused"),
    "memory64, shared memory, multi-memory, gc, exceptions": (
        f"{HOST}.test_features_no_toolchain_needs_are_off",
        "test_wasmtime_engine.test_text_and_unwanted_features_do_not_compile"),
    "compile bombs: straight line, branches, 900,000 functions": (
        f"{COMPILER}.test_compile_bombs_end_within_their_limits",
        "test_module_preparation.test_a_costly_compilation_is_stopped"),
    "many locals, huge br_table": (f"{COMPILER}.test_what_no_compiler_takes_is_refused",),
    "decompression": (f"{COMPILER}.test_nothing_is_unpacked",),
    "tampered artifact": (
        "test_module_preparation.test_a_changed_artifact_is_compiled_again",
        f"{COMPILER}.test_an_artifact_of_another_user_is_not_taken"),
    "cache folder of somebody else, or a symlink": (
        "test_module_preparation.test_a_symlink_is_refused",
        "test_module_preparation.test_a_folder_others_can_enter_is_refused"),
    "artifact overwritten while it is loaded": (
        f"{COMPILER}.test_an_artifact_replaced_while_it_is_loaded_harms_no_guest",),
    "engine flags that abort": (f"{HOST}.test_engine_flags_never_come_from_limits",),
    "file size limit of zero": (f"{FILES}.test_a_worker_always_has_room_for_its_own_files",),
    "memory beyond the engine's limits": (
        "test_worker_limits.test_a_worker_has_hard_limits",
        "test_worker_pool.test_memory_stops_at_its_limit"),
    "a worker without its parent": ("test_worker_limits.test_a_worker_dies_with_its_parent",
                                    "test_worker_limits.test_a_child_of_another_parent_ends_at_once"),
    "a worker that was taken over": (
        "test_worker_frames.test_nonsense_of_a_worker_is_one_error",
        "test_worker_pool.test_nonsense_from_a_worker_is_an_error",
        "test_questions.test_a_worker_that_asks_nonsense_is_killed"),
    "fork after load": (
        f"{COMPILER}.test_nothing_in_the_package_forks",
        f"{COMPILER}.test_compiling_goes_on_in_a_process_that_has_the_engine_loaded"),
    "leaks": ("test_leaks.test_traps_and_other_ends_leave_nothing",
              "test_leaks.test_a_sandbox_and_its_worker_keep_nothing_of_their_calls"),
    "the host goes on": (f"{HOST}.test_after_all_of_them_the_engine_serves",
                         "test_inline_guest.test_attacks_end_with_their_reason"),
}  # fmt: skip
"""Attacks, and ``module.test`` of what shows their end. ``testing`` is ``sandbox/testing.py``."""


def functions_in(module: str) -> set[str]:
    """The names of the tests in a module."""
    path = LAWS if module == "testing" else HERE / f"{module}.py"
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")
    }


@pytest.mark.parametrize("attack", TABLE)
def test_every_attack_has_its_tests(attack: str) -> None:
    """Each of them is there under its name."""
    assert TABLE[attack]
    for name in TABLE[attack]:
        module, test = name.split(".")
        assert test in functions_in(module), name
