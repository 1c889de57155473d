use std::path::Path;

use burn::tensor::Tensor;
use grsap_model::{Decoder, DecoderInput, WeightFormat};
use serde_json::{Value, json};

use super::*;
use crate::tiny_decoder::{adapted_decoder, bits, tiny_decoder, tiny_decoder_in, tiny_lora};

fn hidden(decoder: &Decoder) -> Vec<f32> {
    let input = DecoderInput::packed([[1_u32, 7, 3, 9].as_slice(), &[2, 30]]);
    let hidden = decoder.hidden_states(&input, None).unwrap();
    hidden.into_data().try_into_vec().unwrap()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

fn named(names: &[&str]) -> LoraConfig {
    LoraConfig {
        target_modules: TargetModules::Names(names.iter().map(|&n| n.into()).collect()),
        ..tiny_lora()
    }
}

#[test]
fn a_fresh_adapter_changes_nothing_and_is_drawn_as_in_peft() {
    let mut decoder = tiny_decoder();
    let before = hidden(&decoder);
    attach(&mut decoder, &tiny_lora(), 1).unwrap();
    assert_eq!(hidden(&decoder), before);

    let factors = AdapterFactors::of(&decoder);
    assert_eq!(factors.iter().len(), 2 * 7 * 2);
    let a = factors
        .iter()
        .filter(|(name, _)| name.ends_with("lora_A.weight"));
    for (name, tensor) in a {
        let [r, width] = tensor.dims();
        assert_eq!(r, 2, "{name}");
        let values: Vec<f32> = tensor.clone().into_data().try_into_vec().unwrap();
        let largest = values.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
        let bound = 1.0 / (width as f32).sqrt();
        assert!(largest <= bound && largest > 0.6 * bound, "{name}");
    }
}

#[test]
fn a_factor_depends_on_the_seed_and_its_name_alone() {
    let q = |config: &LoraConfig, seed| {
        let mut decoder = tiny_decoder();
        attach(&mut decoder, config, seed).unwrap();
        let (_, projection) = decoder
            .projections()
            .find(|(name, _)| name.ends_with("1.self_attn.q_proj"))
            .unwrap();
        let a = projection.lora().unwrap().a.clone();
        a.into_data().try_into_vec::<f32>().unwrap()
    };
    assert_eq!(q(&tiny_lora(), 1), q(&named(&["q_proj"]), 1));
    assert_ne!(q(&tiny_lora(), 1), q(&tiny_lora(), 2));
}

#[test]
fn names_match_whole_parts_from_the_end() {
    let decoder = tiny_decoder();
    let count = |names: &[&str]| named(names).select(&decoder).map(|names| names.len());
    assert_eq!(count(&["q_proj"]).unwrap(), 2);
    assert_eq!(count(&["self_attn.q_proj", "q_proj"]).unwrap(), 2);
    assert_eq!(count(&["model.layers.1.mlp.up_proj"]).unwrap(), 1);
    let error = count(&["proj", "q_proj"]).unwrap_err().to_string();
    assert_eq!(
        error,
        "target_modules: no projection is named proj, there are: q_proj, k_proj, v_proj, o_proj, \
         gate_proj, up_proj, down_proj"
    );
}

#[test]
fn layers_can_be_chosen() {
    let decoder = tiny_decoder();
    let mut config = LoraConfig {
        layers_to_transform: Some(vec![1]),
        ..named(&["v_proj"])
    };
    assert_eq!(
        config.select(&decoder).unwrap(),
        ["model.layers.1.self_attn.v_proj"]
    );
    config.layers_to_transform = Some(vec![1, 2]);
    let error = config.select(&decoder).unwrap_err().to_string();
    assert_eq!(
        error,
        "layers_to_transform: no layer [2], the decoder has 2"
    );
}

#[test]
fn a_field_out_of_range_is_named_and_changes_nothing() {
    let mut decoder = adapted_decoder(&tiny_lora());
    let before = bits(&decoder);
    for (field, config) in [
        (
            "r",
            LoraConfig {
                r: 0,
                ..tiny_lora()
            },
        ),
        (
            "lora_alpha",
            LoraConfig {
                lora_alpha: 0.0,
                ..tiny_lora()
            },
        ),
        (
            "lora_dropout",
            LoraConfig {
                lora_dropout: 1.0,
                ..tiny_lora()
            },
        ),
        ("target_modules", named(&[])),
    ] {
        let error = attach(&mut decoder, &config, 0).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{field}: ")), "{error}");
    }
    assert_eq!(bits(&decoder), before);
}

#[test]
fn rslora_scales_by_the_root_of_the_rank() {
    let config = LoraConfig {
        use_rslora: true,
        ..LoraConfig::default()
    };
    assert_eq!(config.scale(), 8.0);
}

#[test]
fn merging_keeps_the_outputs_and_detaching_restores_the_base() {
    let base = hidden(&tiny_decoder());
    let mut decoder = adapted_decoder(&tiny_lora());
    let adapted = hidden(&decoder);
    assert!(distance(&adapted, &base) > 0.1);

    let mut detached = decoder.clone();
    detach(&mut detached);
    assert_eq!(hidden(&detached), base);

    merge(&mut decoder);
    assert!(decoder.projections().all(|(_, p)| p.lora().is_none()));
    assert!(distance(&hidden(&decoder), &adapted) < 1e-5);
}

#[test]
fn a_bf16_base_takes_adapters_and_keeps_its_format() {
    let full = adapted_decoder(&tiny_lora());
    let mut half = tiny_decoder_in(WeightFormat::Bf16);
    attach(&mut half, &tiny_lora(), 1).unwrap();
    replace(&mut half, AdapterFactors::of(&full).into_tensors()).unwrap();
    let error = distance(&hidden(&half), &hidden(&full));
    assert!(error > 0.0 && error < 0.05, "{error}");
    merge(&mut half);
    let error = distance(&hidden(&half), &hidden(&full));
    assert!(error > 0.0 && error < 0.05, "{error}");
    for (name, projection) in half.projections() {
        assert_eq!(projection.weight().format(), WeightFormat::Bf16, "{name}");
    }
}

#[test]
fn a_saved_adapter_comes_back_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    for config in [
        tiny_lora(),
        LoraConfig {
            layers_to_transform: Some(vec![1]),
            use_rslora: true,
            lora_alpha: 2.5,
            ..named(&["q_proj", "down_proj"])
        },
    ] {
        let decoder = adapted_decoder(&config);
        save_adapter(
            &decoder,
            &config,
            Some("base"),
            AdapterDtype::F32,
            dir.path(),
        )
        .unwrap();
        let mut loaded = tiny_decoder();
        // Files have names, as PEFT's have.
        let names = match &config.target_modules {
            TargetModules::AllLinear => named(&[
                "q_proj",
                "k_proj",
                "v_proj",
                "o_proj",
                "gate_proj",
                "up_proj",
                "down_proj",
            ]),
            TargetModules::Names(_) => config.clone(),
        };
        let expected = LoraConfig {
            target_modules: names.target_modules,
            ..config
        };
        assert_eq!(load_adapter(&mut loaded, dir.path()).unwrap(), expected);
        assert_eq!(bits(&loaded), bits(&decoder));
        assert_eq!(hidden(&loaded), hidden(&decoder));
    }
}

#[test]
fn bf16_halves_the_file_and_keeps_three_digits() {
    let dir = tempfile::tempdir().unwrap();
    let config = tiny_lora();
    let decoder = adapted_decoder(&config);
    let save = |dtype, name: &str| {
        let dir = dir.path().join(name);
        save_adapter(&decoder, &config, None, dtype, &dir).unwrap();
        std::fs::metadata(dir.join(ADAPTER_MODEL)).unwrap().len()
    };
    let (f32_len, bf16_len) = (save(AdapterDtype::F32, "a"), save(AdapterDtype::BF16, "b"));
    let num_parameters = AdapterFactors::of(&decoder).num_parameters() as u64;
    let difference = f32_len - bf16_len;
    assert!(difference.abs_diff(2 * num_parameters) < 64, "{difference}");
    let mut loaded = tiny_decoder();
    load_adapter(&mut loaded, dir.path().join("b")).unwrap();
    let error = distance(&hidden(&loaded), &hidden(&decoder));
    assert!(error > 0.0 && error < 0.05, "{error}");
}

#[test]
fn saving_needs_the_adapters_that_the_configuration_describes() {
    let dir = tempfile::tempdir().unwrap();
    let save = |decoder: &Decoder, config: &LoraConfig| {
        save_adapter(decoder, config, None, AdapterDtype::F32, dir.path()).unwrap_err()
    };
    let none = save(&tiny_decoder(), &tiny_lora());
    assert_eq!(none.to_string(), "the decoder has no adapter");
    let fewer = save(&adapted_decoder(&named(&["q_proj"])), &tiny_lora());
    assert!(fewer.to_string().contains("0.self_attn.k_proj"), "{fewer}");
    let other = LoraConfig {
        lora_alpha: 5.0,
        ..tiny_lora()
    };
    let scale = save(&adapted_decoder(&tiny_lora()), &other);
    assert!(
        scale.to_string().contains("scale is 2, expected 2.5"),
        "{scale}"
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Saves an adapter, changes its configuration, and loads it.
fn load_changed(change: impl Fn(&mut Value)) -> Result<LoraConfig, AdapterError> {
    let dir = tempfile::tempdir().unwrap();
    let config = tiny_lora();
    let decoder = adapted_decoder(&config);
    save_adapter(&decoder, &config, None, AdapterDtype::F32, dir.path()).unwrap();
    let path = dir.path().join(ADAPTER_CONFIG);
    let mut json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(&path, json.to_string()).unwrap();
    load_adapter(&mut tiny_decoder(), dir.path())
}

#[test]
fn settings_that_change_the_result_are_refused_by_name() {
    for (field, value) in [
        ("peft_type", json!("LOHA")),
        ("bias", json!("all")),
        ("rank_pattern", json!({"q_proj": 8})),
        ("alpha_pattern", json!({"q_proj": 8})),
        ("use_dora", json!(true)),
        ("modules_to_save", json!(["lm_head"])),
        ("fan_in_fan_out", json!(true)),
        ("init_lora_weights", json!("pissa")),
        ("layers_pattern", json!("h")),
        ("target_modules", json!(".*_proj")),
        ("target_modules", json!([])),
        ("r", json!(null)),
        ("r", json!("two")),
        ("lora_alpha", json!(-1)),
    ] {
        let error = load_changed(|json| json[field] = value.clone()).unwrap_err();
        let expected = format!("{ADAPTER_CONFIG}: {field}: ");
        assert!(error.to_string().contains(&expected), "{error}");
    }
}

#[test]
fn fields_of_other_versions_are_passed_over() {
    let config = load_changed(|json| {
        json["peft_version"] = json!("0.21.2");
        json["some_new_field"] = json!(3);
        json["layers_to_transform"] = json!([0, 1]);
        json["layers_pattern"] = json!("layers");
        json.as_object_mut().unwrap().remove("use_rslora");
    });
    assert_eq!(config.unwrap().layers_to_transform, Some(vec![0, 1]));
}

#[test]
fn missing_unexpected_and_misshapen_tensors_are_named_together() {
    let dir = tempfile::tempdir().unwrap();
    let config = named(&["q_proj"]);
    let decoder = adapted_decoder(&config);
    save_adapter(&decoder, &config, None, AdapterDtype::F32, dir.path()).unwrap();
    let wider = LoraConfig {
        r: 3,
        ..named(&["q_proj", "k_proj"])
    };
    let json = super::peft_config::to_json(&wider, None, false);
    std::fs::write(dir.path().join(ADAPTER_CONFIG), json.to_string()).unwrap();
    let mut target = adapted_decoder(&tiny_lora());
    let before = bits(&target);
    let AdapterError::Tensors {
        missing,
        unexpected,
        misshapen,
        ..
    } = load_adapter(&mut target, dir.path()).unwrap_err()
    else {
        panic!("another error");
    };
    assert_eq!(
        (missing.len(), unexpected.len(), misshapen.len()),
        (4, 0, 4)
    );
    assert_eq!(misshapen[0].1, [3, 16]);

    let json = super::peft_config::to_json(&named(&["k_proj"]), None, false);
    std::fs::write(dir.path().join(ADAPTER_CONFIG), json.to_string()).unwrap();
    let error = load_adapter(&mut target, dir.path()).unwrap_err();
    assert!(
        error.to_string().contains(
            "; unexpected base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
        ),
        "{error}"
    );
    assert_eq!(bits(&target), before);
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = tiny_lora();
    let mut decoder = adapted_decoder(&config);
    let poisoned: Vec<Tensor<2>> = AdapterFactors::of(&decoder)
        .into_tensors()
        .into_iter()
        .enumerate()
        .map(|(index, t)| if index == 3 { t * f32::NAN } else { t })
        .collect();
    replace(&mut decoder, poisoned).unwrap();
    save_adapter(&decoder, &config, None, AdapterDtype::F32, dir.path()).unwrap();
    let error = load_adapter(&mut tiny_decoder(), dir.path()).unwrap_err();
    assert!(
        error.to_string().contains("k_proj.lora_B.weight"),
        "{error}"
    );
    assert!(error.to_string().contains("NaN"), "{error}");
}

#[test]
fn missing_and_cut_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let load = |dir: &Path| {
        load_adapter(&mut tiny_decoder(), dir)
            .unwrap_err()
            .to_string()
    };
    assert!(load(dir.path()).contains(ADAPTER_CONFIG));
    let config = tiny_lora();
    let decoder = adapted_decoder(&config);
    save_adapter(&decoder, &config, None, AdapterDtype::F32, dir.path()).unwrap();
    let path = dir.path().join(ADAPTER_MODEL);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    assert!(load(dir.path()).contains(ADAPTER_MODEL));
    std::fs::remove_file(&path).unwrap();
    assert!(load(dir.path()).contains(ADAPTER_MODEL));
}
