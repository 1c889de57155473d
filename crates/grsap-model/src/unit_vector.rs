/// Appends `x` at unit length. A vector of zeros stays one.
pub(crate) fn push_unit(x: &[f64], out: &mut Vec<f32>) {
    let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
    out.extend(x.iter().map(|x| (x / norm) as f32));
}
